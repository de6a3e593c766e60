//! The address and the scheme of a client behind reverse proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use clap::Args;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The reverse proxies whose headers the service believes.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustedProxies {
    /// Addresses or networks of the reverse proxies, such as `10.0.0.7,fd00::/8`. The service believes
    /// `X-Forwarded-For` and `X-Forwarded-Proto` only from these addresses. Each proxy must append to the
    /// first header and set the second
    #[arg(long = "trusted-proxies", env = "TRUSTED_PROXIES", value_name = "ADDRESSES",
          value_delimiter = ',', value_parser = parse_network)]
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// Returns the client's address: the last hop of `X-Forwarded-For` that is not a trusted proxy.
    ///
    /// The client itself can send any hop before that one. A hop that cannot be parsed counts as the proxy
    /// that reported it.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        let values = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.contains(client) {
                break;
            }
            let Some(previous) = parse_hop(hop.trim()) else { break };
            client = previous.to_canonical();
        }
        client
    }

    /// Returns whether the client's connection is encrypted, according to a trusted proxy.
    #[must_use]
    pub fn https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let scheme =
            headers.get_all(X_FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
        self.is_trusted(peer)
            && scheme
                .and_then(|value| value.rsplit(',').next())
                .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }

    /// Returns whether a connection comes from a trusted proxy.
    #[must_use]
    pub fn is_trusted(&self, peer: SocketAddr) -> bool {
        self.contains(peer.ip().to_canonical())
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Parses a network. A single address is a network of one address.
fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| "neither an address nor a network like 10.0.0.0/8")
}

/// Parses a hop: an address, with or without a port and brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok();
    let without_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(without_port).or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{TrustedProxies, X_FORWARDED_FOR, X_FORWARDED_PROTO, parse_network};

    pub(crate) fn trusted(network: &str) -> TrustedProxies {
        TrustedProxies { networks: vec![parse_network(network).unwrap()] }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn client(networks: &str, peer: &str, forwarded_for: &[&str]) -> String {
        let networks =
            networks.split_terminator(',').map(|network| parse_network(network).unwrap()).collect();
        let pairs: Vec<_> = forwarded_for.iter().map(|value| (X_FORWARDED_FOR, *value)).collect();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1234);
        TrustedProxies { networks }.client(peer, &headers(&pairs)).to_string()
    }

    #[test]
    fn header_of_untrusted_peer_is_ignored() {
        assert_eq!(client("", "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.7", "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
    }

    #[test]
    fn client_is_last_hop_outside_trusted_proxies() {
        let trusted = "10.0.0.0/8,fd00::1";
        assert_eq!(client(trusted, "10.0.0.7", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client(trusted, "10.0.0.7", &["1.1.1.1, 198.51.100.9, 10.9.9.9"]), "198.51.100.9");
        assert_eq!(client(trusted, "10.0.0.7", &["1.1.1.1", "198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(client(trusted, "fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(trusted, "::ffff:10.0.0.7", &["::ffff:198.51.100.9"]), "198.51.100.9");
    }

    #[test]
    fn unknown_hop_counts_as_its_proxy() {
        assert_eq!(client("10.0.0.7", "10.0.0.7", &[]), "10.0.0.7");
        assert_eq!(client("10.0.0.7", "10.0.0.7", &["1.1.1.1, unknown"]), "10.0.0.7");
    }

    #[test]
    fn https_requires_trusted_proxy() {
        let proxies = TrustedProxies { networks: vec![parse_network("10.0.0.7").unwrap()] };
        let proxy = "10.0.0.7:1".parse().unwrap();
        let untrusted = "192.0.2.1:1".parse().unwrap();
        assert!(proxies.https(proxy, &headers(&[(X_FORWARDED_PROTO, "https")])));
        assert!(!proxies.https(proxy, &headers(&[(X_FORWARDED_PROTO, "https, http")])));
        assert!(!proxies.https(proxy, &headers(&[])));
        assert!(!proxies.https(untrusted, &headers(&[(X_FORWARDED_PROTO, "https")])));
    }
}
