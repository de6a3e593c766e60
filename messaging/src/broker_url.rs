//! The address of a broker. It is parsed once, and no output contains its password.

use std::{fmt, str::FromStr};

use lapin::uri::AMQPUri;

/// RabbitMQ recommends 5 to 20 s. With less, a busy broker looks dead. With more, a dead broker looks busy.
/// A peer that is silent for twice this time counts as dead.
const HEARTBEAT_SECONDS: u16 = 5;

/// `amqp://user:password@host:port/vhost`, or `amqps://…` for TLS. `Display` and `Debug` omit the user and the
/// password.
#[derive(Clone)]
pub struct BrokerUrl(AMQPUri);

impl BrokerUrl {
    /// Returns the URI with `frame_max` bytes as the largest frame, unless the URI already sets one.
    pub(crate) fn uri(&self, frame_max: u32) -> AMQPUri {
        let mut uri = self.0.clone();
        uri.query.frame_max.get_or_insert(frame_max);
        uri
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        // The parser's own message could contain the password, so it is replaced.
        let mut uri =
            AMQPUri::from_str(url).map_err(|_| "expected amqp://user:password@host:port/vhost".to_owned())?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self(uri))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { authority, vhost, .. } = &self.0;
        write!(f, "{}:{} vhost {vhost}", authority.host, authority.port)
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::BrokerUrl;

    #[test]
    fn broker_url_never_shows_its_password() {
        let url: BrokerUrl = "amqp://web-store:hush@broker:5673/shop".parse().unwrap();
        assert_eq!(url.to_string(), "broker:5673 vhost shop");
        assert!(!format!("{url:?}").contains("hush"));
        let error = "amqp//web-store:hush@broker".parse::<BrokerUrl>().unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }
}
