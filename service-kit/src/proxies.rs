//! Who a request comes from, where reverse proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use clap::Args;
use ipnet::IpNet;

const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";

/// The proxies whose word is taken.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustedProxies {
    /// Addresses of the reverse proxies in front, such as `10.0.0.7,fd00::/8`. Of requests that come from
    /// them, `X-Forwarded-For` and `X-Forwarded-Proto` are believed; every proxy has to append to the
    /// former and to set the latter. Of all others they are not
    #[arg(long = "trusted-proxies", env = "TRUSTED_PROXIES", value_name = "ADDRESSES",
          value_delimiter = ',', value_parser = parse_network)]
    trusted: Vec<IpNet>,
}

impl TrustedProxies {
    /// The client's address: the last one that no trusted proxy vouches for. What stands before it in
    /// `X-Forwarded-For` is only what the client says.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        let values = headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.trust(client) {
                break;
            }
            let Some(before) = parse_hop(hop.trim()) else { break };
            client = before.to_canonical();
        }
        client
    }

    /// Whether the client's own connection is encrypted, as a trusted proxy says.
    #[must_use]
    pub fn https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let scheme = headers.get_all(PROTO).iter().next_back().and_then(|value| value.to_str().ok());
        self.trust(peer.ip().to_canonical())
            && scheme
                .and_then(|value| value.rsplit(',').next())
                .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// An address alone is a network of one.
fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse()).map_err(|_| "neither an address nor a network like 10.0.0.0/8")
}

/// Some proxies add the port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok();
    let without_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(without_port).or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{FOR, PROTO, TrustedProxies, parse_network};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn client(trusted: &str, peer: &str, forwarded_for: &[&str]) -> String {
        let trusted = trusted.split_terminator(',').map(|network| parse_network(network).unwrap()).collect();
        let pairs: Vec<_> = forwarded_for.iter().map(|value| (FOR, *value)).collect();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1234);
        TrustedProxies { trusted }.client(peer, &headers(&pairs)).to_string()
    }

    #[test]
    fn without_trusted_proxies_the_peer_is_the_client_whatever_it_says() {
        assert_eq!(client("", "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.7", "192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_vouches_for_is_the_client() {
        let trusted = "10.0.0.0/8,fd00::1";
        assert_eq!(client(trusted, "10.0.0.7", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client(trusted, "10.0.0.7", &["1.1.1.1, 198.51.100.9, 10.9.9.9"]), "198.51.100.9");
        assert_eq!(client(trusted, "10.0.0.7", &["1.1.1.1", "198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(client(trusted, "fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(trusted, "::ffff:10.0.0.7", &["::ffff:198.51.100.9"]), "198.51.100.9");
    }

    #[test]
    fn what_a_proxy_cannot_name_is_counted_as_the_proxy() {
        assert_eq!(client("10.0.0.7", "10.0.0.7", &[]), "10.0.0.7");
        assert_eq!(client("10.0.0.7", "10.0.0.7", &["1.1.1.1, unknown"]), "10.0.0.7");
    }

    #[test]
    fn https_is_believed_of_a_trusted_proxy_alone() {
        let proxies = TrustedProxies { trusted: vec![parse_network("10.0.0.7").unwrap()] };
        let (proxy, stranger) = ("10.0.0.7:1".parse().unwrap(), "192.0.2.1:1".parse().unwrap());
        assert!(proxies.https(proxy, &headers(&[(PROTO, "https")])));
        assert!(!proxies.https(proxy, &headers(&[(PROTO, "https, http")])));
        assert!(!proxies.https(proxy, &headers(&[])));
        assert!(!proxies.https(stranger, &headers(&[(PROTO, "https")])));
    }
}
