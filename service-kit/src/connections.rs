//! The limits of the HTTP server, and the connections that count towards them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use clap::Args;

use crate::{TrustedProxies, rate_limit::network};

/// Below 1,024, the usual limit of open files of a process, with room for its own connections.
const MAX_CONNECTIONS: usize = 800;

/// Half of all connections, so that one address cannot keep the others out.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 400;

/// Longer than the idle timeout of usual load balancers, 60 s. So the balancer closes an unused connection,
/// and sends no request on a connection that the service is closing.
const KEEP_ALIVE_SECONDS: u64 = 75;

/// An operator who waits longer for the end of a process has made a mistake in the unit.
const MAX_SHUTDOWN_DELAY_SECONDS: u64 = 600;

/// The limits of the HTTP server.
#[derive(Debug, Clone, Args)]
pub struct HttpLimits {
    /// Maximum of open HTTP connections. Health checks from this machine have a reserve beyond it
    #[arg(long = "http-max-connections", env = "HTTP_MAX_CONNECTIONS", value_name = "NUMBER",
          default_value_t = MAX_CONNECTIONS)]
    max_connections: usize,

    /// Maximum of open HTTP connections from one address, or one IPv6 network of 64 bits. It does not apply to
    /// trusted proxies
    #[arg(long = "http-max-connections-per-address", env = "HTTP_MAX_CONNECTIONS_PER_ADDRESS",
          value_name = "NUMBER", default_value_t = MAX_CONNECTIONS_PER_ADDRESS)]
    max_connections_per_address: usize,

    /// Time after which an unused HTTP connection is closed. It must exceed the idle timeout of a reverse
    /// proxy
    #[arg(long = "http-keep-alive-seconds", env = "HTTP_KEEP_ALIVE_SECONDS", value_name = "SECONDS",
          default_value_t = KEEP_ALIVE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep_alive_seconds: u64,

    /// Time after SIGTERM in which HTTP requests are still served, while the service reports that it is not ready.
    /// It must exceed the time in which the load balancer detects that. Without a load balancer, use 0
    #[arg(long = "shutdown-delay-seconds", env = "SHUTDOWN_DELAY_SECONDS", value_name = "SECONDS",
          default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=MAX_SHUTDOWN_DELAY_SECONDS))]
    shutdown_delay_seconds: u64,

    #[arg(skip)]
    proxies: TrustedProxies,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS,
            keep_alive_seconds: KEEP_ALIVE_SECONDS,
            shutdown_delay_seconds: 0,
            proxies: TrustedProxies::default(),
        }
    }
}

impl HttpLimits {
    /// Exempts these proxies from the limit per address, because each of them connects for many clients.
    #[must_use]
    pub fn with_proxies(self, proxies: &TrustedProxies) -> Self {
        Self { proxies: proxies.clone(), ..self }
    }

    /// Returns the time in which the service drains after a signal, for [`shutdown_on_signal`].
    ///
    /// [`shutdown_on_signal`]: crate::shutdown_on_signal
    #[must_use]
    pub fn shutdown_delay(&self) -> Duration {
        Duration::from_secs(self.shutdown_delay_seconds)
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_seconds)
    }
}

/// The open connections, in total and for each address.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: HttpLimits,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one open connection. Dropping it makes room for another one.
#[derive(Debug)]
pub(crate) struct Place {
    address: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Connections {
    pub(crate) fn new(limits: HttpLimits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Returns a place for a connection of the peer, or `None` if a limit is reached.
    pub(crate) fn try_admit(&self, peer: IpAddr) -> Option<Place> {
        let address = network(peer);
        let mut open = lock(&self.open);
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let is_exempt = || self.limits.proxies.contains(peer.to_canonical());
        let is_full = open.total >= self.limits.max_connections
            || (of_address >= self.limits.max_connections_per_address && !is_exempt());
        if is_full {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, of_address + 1);
        Some(Place { address, open: Arc::clone(&self.open) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl HttpLimits {
    pub(crate) fn for_test(total: usize, per_address: usize, keep_alive_seconds: u64) -> Self {
        Self {
            max_connections: total,
            max_connections_per_address: per_address,
            keep_alive_seconds,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Connections, HttpLimits, lock};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_limited_in_total_and_for_each_address() {
        let connections = Connections::new(HttpLimits::for_test(3, 2, 75));
        let first = connections.try_admit(address("192.0.2.1"));
        let second = connections.try_admit(address("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(connections.try_admit(address("192.0.2.1")).is_none(), "two for each address");
        let third = connections.try_admit(address("2001:db8::1"));
        assert!(third.is_some());
        assert!(connections.try_admit(address("192.0.2.3")).is_none(), "three in total");
        drop(first);
        assert!(connections.try_admit(address("192.0.2.1")).is_some());
        drop((second, third));
        assert!(lock(&connections.open).by_address.is_empty(), "memory does not grow with addresses");
    }

    #[test]
    fn trusted_proxy_has_no_limit_of_its_own() {
        let proxies = crate::trusted_proxies::tests::trusted("10.0.0.7");
        let limits = HttpLimits::for_test(10, 1, 75).with_proxies(&proxies);
        let connections = Connections::new(limits);
        let places: Vec<_> = (0..11).map(|_| connections.try_admit(address("10.0.0.7"))).collect();
        assert_eq!(places.iter().flatten().count(), 10);
    }
}
