//! The URL of a broker, as a value or as a file. No output contains its password.

use std::str::FromStr;

use access::{Secret, SecretError};

use crate::broker_address::BrokerAddress;

/// `amqp://user:password@host:port/vhost`, or `amqps://…` for TLS, or `file:PATH` with a file that contains one of them.
///
/// The file is read again for each connection.
///
/// `amqps://` verifies the certificate of the server and its host name. It trusts the CAs of the system. The URL can have
/// these parameters, whose files are read again for each connection:
///
/// | parameter | PEM file |
/// | --- | --- |
/// | `cacertfile` | more trusted CAs |
/// | `certfile`, `keyfile` | the client certificate with its chain, and its key |
#[derive(Debug, Clone)]
pub struct BrokerUrl(Secret<BrokerAddress>);

impl BrokerUrl {
    /// Returns the current address.
    pub(crate) fn read(&self) -> Result<BrokerAddress, SecretError> {
        self.0.read()
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        url.parse().map(Self)
    }
}
