//! The address of a broker, parsed from its URL.

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::tls_files::TlsFiles;

/// RabbitMQ recommends 5 to 20 s. With less, a busy broker looks dead. With more, a dead broker looks busy.
/// A peer that is silent for twice this time counts as dead.
const HEARTBEAT_SECONDS: u16 = 5;

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
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let tls = TlsFiles::of_url(url)?;
        if uri.scheme == AMQPScheme::AMQP && tls != TlsFiles::default() {
            return Err("a URL with cacertfile, certfile, or keyfile must begin with amqps://".to_owned());
        }
        Ok(Self { uri, tls })
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

    use super::BrokerAddress;

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
}
