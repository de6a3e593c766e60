//! A limit on the requests of each client.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};

/// Clients that one limit remembers, in a few MiB.
///
/// If more clients than that arrive within a minute, all of them are forgotten. A limit per client does not
/// help against such a flood, and the memory stays bounded.
const MAX_CLIENTS: usize = 50_000;

/// A number of requests per minute for each client, in a burst or spread over the minute.
///
/// The crate `governor` counts them by the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug)]
pub struct RateLimit<C: Clock = DefaultClock> {
    /// `None` means no limit.
    quota: Option<Quota>,
    clock: C,
    limiter: RwLock<Option<KeyedLimiter<C>>>,
}

type KeyedLimiter<C> =
    RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl RateLimit {
    /// Returns a limit of `requests` per minute and client. With 0 there is no limit.
    #[must_use]
    pub fn per_minute(requests: u32) -> Self {
        Self::with_clock(requests, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(requests: u32, clock: C) -> Self {
        let quota = NonZeroU32::new(requests).map(Quota::per_minute);
        let limiter = quota.map(|quota| KeyedLimiter::hashmap_with_clock(quota, clock.clone()));
        Self { quota, clock, limiter: RwLock::new(limiter) }
    }

    /// Counts one request of a client.
    ///
    /// # Errors
    /// Returns the time until the next request is allowed if the client has reached the limit.
    pub fn try_acquire(&self, client: IpAddr) -> Result<(), Duration> {
        let (outcome, clients) = {
            let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
            let Some(limiter) = limiter.as_ref() else { return Ok(()) };
            let outcome = limiter.check_key(&network(client));
            (outcome.map_err(|denied| denied.wait_time_from(self.clock.now())), limiter.len())
        };
        if clients > MAX_CLIENTS {
            self.forget_clients();
        }
        outcome
    }

    /// Forgets the clients that have all their requests again, or all clients if too many remain.
    fn forget_clients(&self) {
        let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        limiter.as_ref().inspect(|limiter| limiter.retain_recent());
        // Half, so that the next search through all clients is not due soon.
        if limiter.as_ref().is_some_and(|limiter| limiter.len() > MAX_CLIENTS / 2) {
            *limiter = self.quota.map(|quota| KeyedLimiter::hashmap_with_clock(quota, self.clock.clone()));
        }
    }
}

/// Returns the address that identifies a client: an IPv6 client controls at least a /64 (RFC 6177).
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        IpAddr::V4(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::Duration,
    };

    use governor::clock::FakeRelativeClock;

    use super::{MAX_CLIENTS, RateLimit};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn requests_return_one_by_one_after_burst() {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit::with_clock(4, clock.clone());
        let client = address("192.0.2.1");
        for _ in 0..4 {
            assert_eq!(limit.try_acquire(client), Ok(()));
        }
        assert_eq!(limit.try_acquire(client), Err(Duration::from_secs(15)));
        assert_eq!(limit.try_acquire(address("192.0.2.2")), Ok(()), "each client has its own limit");
        clock.advance(Duration::from_secs(15));
        assert_eq!(limit.try_acquire(client), Ok(()));
        assert_eq!(limit.try_acquire(client), Err(Duration::from_secs(15)));
        clock.advance(Duration::from_mins(5));
        assert_eq!(limit.try_acquire(client), Ok(()));
    }

    #[test]
    fn ipv6_network_and_mapped_ipv4_count_as_one_client() {
        let limit = RateLimit::with_clock(1, FakeRelativeClock::default());
        assert!(limit.try_acquire(address("2001:db8::1")).is_ok());
        assert!(limit.try_acquire(address("2001:db8::ffff")).is_err());
        assert!(limit.try_acquire(address("2001:db8:0:1::1")).is_ok());
        assert!(limit.try_acquire(address("192.0.2.1")).is_ok());
        assert!(limit.try_acquire(address("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn zero_means_no_limit() {
        let limit = RateLimit::per_minute(0);
        assert!((0..1000).all(|_| limit.try_acquire(address("192.0.2.1")).is_ok()));
    }

    #[test]
    fn flood_of_clients_does_not_grow_memory() {
        let limit = RateLimit::with_clock(1, FakeRelativeClock::default());
        for client in 0..=u32::try_from(2 * MAX_CLIENTS).unwrap() {
            assert!(limit.try_acquire(Ipv4Addr::from_bits(client).into()).is_ok());
            let clients = limit.limiter.read().unwrap().as_ref().unwrap().len();
            assert!(clients <= MAX_CLIENTS);
        }
    }
}
