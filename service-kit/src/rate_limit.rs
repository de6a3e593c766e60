//! A limit on how often one client may do something.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_mins(1);

/// The most clients that are kept in mind, in a few MiB. If there are more within a minute, all are
/// forgotten: against so many a limit on each is no help, and memory stays bounded.
const MOST_CLIENTS: usize = 50_000;

/// So many times a minute for each client, all at once or spread: the generic cell rate algorithm
/// (ITU-T I.371).
#[derive(Debug)]
pub struct RateLimit {
    per_minute: u32,
    /// For each client, when it would have all its turns again.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimit {
    /// With 0 there is no limit.
    #[must_use]
    pub fn per_minute(per_minute: u32) -> Self {
        Self { per_minute, full_at: Mutex::default() }
    }

    /// Takes one turn.
    ///
    /// # Errors
    /// There is none left: how long to wait for the next.
    pub fn try_acquire(&self, client: IpAddr) -> Result<(), Duration> {
        self.try_acquire_at(client, Instant::now())
    }

    fn try_acquire_at(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(turn) = MINUTE.checked_div(self.per_minute) else { return Ok(()) };
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let client = network(client);
        let before = full_at.get(&client).map_or(now, |full_at| now.max(*full_at));
        let after = before + turn;
        if let Some(wait) = after.checked_duration_since(now + MINUTE).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if full_at.len() >= MOST_CLIENTS && !full_at.contains_key(&client) {
            full_at.retain(|_, full_at| *full_at > now);
            if full_at.len() > MOST_CLIENTS / 2 {
                full_at.clear();
            }
        }
        full_at.insert(client, after);
        Ok(())
    }
}

/// Somebody with IPv6 has at least a /64 of addresses (RFC 6177), and counts as one client.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        IpAddr::V4(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::{Duration, Instant},
    };

    use super::{MOST_CLIENTS, RateLimit};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_turns_of_a_minute_can_be_taken_at_once_and_come_back_one_by_one() {
        let (limit, now, client) = (RateLimit::per_minute(4), Instant::now(), address("192.0.2.1"));
        for _ in 0..4 {
            assert_eq!(limit.try_acquire_at(client, now), Ok(()));
        }
        assert_eq!(limit.try_acquire_at(client, now), Err(Duration::from_secs(15)));
        assert_eq!(limit.try_acquire_at(address("192.0.2.2"), now), Ok(()), "others have their own");
        let later = now + Duration::from_secs(15);
        assert_eq!(limit.try_acquire_at(client, later), Ok(()));
        assert_eq!(limit.try_acquire_at(client, later), Err(Duration::from_secs(15)));
        assert_eq!(limit.try_acquire_at(client, later + Duration::from_mins(5)), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_ipv4_inside_ipv6_is_ipv4() {
        let (limit, now) = (RateLimit::per_minute(1), Instant::now());
        assert!(limit.try_acquire_at(address("2001:db8::1"), now).is_ok());
        assert!(limit.try_acquire_at(address("2001:db8::ffff"), now).is_err());
        assert!(limit.try_acquire_at(address("2001:db8:0:1::1"), now).is_ok());
        assert!(limit.try_acquire_at(address("192.0.2.1"), now).is_ok());
        assert!(limit.try_acquire_at(address("::ffff:192.0.2.1"), now).is_err());
    }

    #[test]
    fn with_0_there_is_no_limit() {
        let limit = RateLimit::per_minute(0);
        assert!((0..1000).all(|_| limit.try_acquire(address("192.0.2.1")).is_ok()));
    }

    #[test]
    fn however_many_clients_come_memory_is_bounded() {
        let (limit, now) = (RateLimit::per_minute(1), Instant::now());
        for client in 0..=u32::try_from(2 * MOST_CLIENTS).unwrap() {
            assert!(limit.try_acquire_at(Ipv4Addr::from_bits(client).into(), now).is_ok());
        }
        assert!(limit.full_at.lock().unwrap().len() <= MOST_CLIENTS);
    }
}
