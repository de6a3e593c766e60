//! The addresses of a broker, parsed from their URLs.

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::tls_files::TlsFiles;

/// RabbitMQ recommends 5 to 20 s. With less, a busy broker looks dead. With more, a dead broker looks busy.
/// A peer that is silent for twice this time counts as dead.
const HEARTBEAT_SECONDS: u16 = 5;

/// The beginnings of a URL.
const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];

/// The address with the user and the password. `Display` omits both.
#[derive(Clone)]
pub(crate) struct BrokerAddress {
    uri: AMQPUri,
    pub(crate) tls: TlsFiles,
}

impl BrokerAddress {
    /// Returns the URI with `frame_max` bytes as the largest frame, unless the URI already sets one.
    pub(crate) fn uri(&self, frame_max: u32) -> AMQPUri {
        let mut uri = self.uri.clone();
        uri.query.frame_max.get_or_insert(frame_max);
        uri
    }
}

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        // The parser's own message could contain the password, so it is replaced.
        let mut uri =
            AMQPUri::from_str(url).map_err(|_| "expected amqp://user:password@host:port/vhost".to_owned())?;
        if uri.authority.host.contains(',') {
            return Err("each URL after a comma must begin with amqp:// or amqps://".to_owned());
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let tls = TlsFiles::of_url(url)?;
        if uri.scheme == AMQPScheme::AMQP && tls != TlsFiles::default() {
            return Err("a URL with cacertfile, certfile, or keyfile must begin with amqps://".to_owned());
        }
        Ok(Self { uri, tls })
    }
}

/// The addresses of the nodes of a broker, at least one.
#[derive(Clone)]
pub(crate) struct BrokerAddresses(pub(crate) Vec<BrokerAddress>);

impl FromStr for BrokerAddresses {
    type Err = String;

    /// Parses URLs that are separated by commas. Blanks can surround them.
    ///
    /// A comma that no URL follows is a part of its URL: of a password or of a path, for example.
    fn from_str(urls: &str) -> Result<Self, String> {
        let mut parts: Vec<String> = Vec::new();
        for part in urls.split(',') {
            let is_url = SCHEMES.iter().any(|scheme| part.trim_start().starts_with(scheme));
            match parts.last_mut().filter(|_| !is_url) {
                Some(url) => *url = format!("{url},{part}"),
                None => parts.push(part.to_owned()),
            }
        }
        parts.iter().map(|url| url.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { authority, vhost, .. } = &self.uri;
        write!(f, "{}:{} vhost {vhost}", authority.host, authority.port)
    }
}

#[cfg(test)]
mod tests {
    use lapin::uri::AMQPScheme;

    use super::{BrokerAddress, BrokerAddresses};

    fn error(url: &str) -> String {
        url.parse::<BrokerAddress>().err().unwrap()
    }

    #[test]
    fn address_never_shows_its_password() {
        let address: BrokerAddress = "amqp://web-store:hush@broker:5673/shop".parse().unwrap();
        assert_eq!(address.to_string(), "broker:5673 vhost shop");
        for url in ["amqp//web-store:hush@broker", "amqp://web-store:hush@broker/?certfile=a"] {
            assert!(!error(url).contains("hush"), "{url}");
        }
    }

    #[test]
    fn files_without_tls_are_an_error() {
        for parameter in ["cacertfile=a", "certfile=a&keyfile=b"] {
            assert!(error(&format!("amqp://user:hush@broker/%2f?{parameter}")).contains("amqps://"));
        }
        assert!(error("amqps://user:hush@broker/%2f?keyfile=b").contains("certfile"));
    }

    #[test]
    fn tls_has_its_own_port() {
        let address: BrokerAddress = "amqps://user:hush@broker/%2f?cacertfile=a&heartbeat=7".parse().unwrap();
        let uri = address.uri(4_096);
        assert_eq!((uri.scheme, uri.authority.port), (AMQPScheme::AMQPS, 5671));
        assert_eq!((uri.query.heartbeat, uri.query.frame_max), (Some(7), Some(4_096)));
    }
    fn addresses(urls: &str) -> Vec<String> {
        urls.parse::<BrokerAddresses>().unwrap().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn commas_separate_urls() {
        let one = ["a:5672 vhost /"];
        assert_eq!(addresses("amqp://user:hush@a/%2f"), one);
        let two = ["a:5672 vhost /", "b:5671 vhost /"];
        for separator in [",", ", ", ",\n"] {
            assert_eq!(
                addresses(&format!("amqp://user:hush@a/%2f{separator}amqps://user:hush@b/%2f\n")),
                two
            );
        }
    }

    #[test]
    fn comma_inside_url_is_kept() {
        let urls = "amqps://user:hu,sh@a/%2f?cacertfile=/a,b.pem,amqp://user:hu,sh@b/%2f";
        assert_eq!(addresses(urls), ["a:5671 vhost /", "b:5672 vhost /"]);
        let BrokerAddresses(addresses) = urls.parse().unwrap();
        assert!(addresses.iter().all(|address| address.uri(1).authority.userinfo.password == "hu,sh"));
        assert_eq!(addresses[0].tls, "amqps://a/?cacertfile=/a,b.pem".parse::<BrokerAddress>().unwrap().tls);
    }

    #[test]
    fn malformed_list_is_an_error_without_password() {
        for urls in ["", ",", "amqp://user:hush@a,b", "amqp://user:hush@a,,amqp://user:hush@b"] {
            let error = urls.parse::<BrokerAddresses>().err().unwrap_or_else(|| panic!("{urls} is accepted"));
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
