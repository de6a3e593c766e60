//! The URL of a broker, as a value or as a file. No output contains its password.

use std::str::FromStr;

use access::{Secret, SecretError};

use crate::{
    address_order::{AddressOrder, AddressUse},
    broker_address::{BrokerAddress, BrokerAddresses},
};

/// `amqp://user:password@host:port/vhost`, or `amqps://…` for TLS, or `file:PATH` with a file that contains one of them.
///
/// A cluster has several URLs, separated by commas: one for each of its nodes. A connection tries them in turn. The
/// first connection of a process begins at a random one. The next ones begin at the address that works.
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
pub struct BrokerUrl {
    addresses: Secret<BrokerAddresses>,
    order: AddressOrder,
}

impl BrokerUrl {
    /// Returns the current addresses in the order in which a connection tries them, each with the use that notes its
    /// failure.
    pub(crate) fn addresses_in_turn(
        &self,
    ) -> Result<impl Iterator<Item = (BrokerAddress, AddressUse)>, SecretError> {
        let BrokerAddresses(addresses) = self.addresses.read()?;
        let positions = self.order.positions(addresses.len());
        let begin_use = |position| self.order.begin_use(position);
        Ok(positions
            .map(move |position| (addresses[position % addresses.len()].clone(), begin_use(position))))
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(urls: &str) -> Result<Self, String> {
        Ok(Self { addresses: urls.parse()?, order: AddressOrder::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::BrokerUrl;

    const URLS: &str = "amqp://user:hush@a/%2f,amqp://user:hush@b/%2f,amqp://user:hush@c/%2f";

    /// Returns the addresses as one connection tries them. All attempts fail.
    fn try_all(broker: &BrokerUrl) -> Vec<String> {
        broker.addresses_in_turn().unwrap().map(|(address, _)| address.to_string()).collect()
    }

    #[test]
    fn connection_tries_each_address_once() {
        let broker: BrokerUrl = URLS.parse().unwrap();
        let tried = try_all(&broker);
        assert_eq!(tried.len(), 3);
        assert_eq!(BTreeSet::from_iter(&tried).len(), 3);
        assert_eq!(try_all(&broker), tried, "after three failures, the first one is next");
    }

    #[test]
    fn processes_begin_at_different_addresses() {
        let first = || try_all(&URLS.parse().unwrap()).remove(0);
        let first: BTreeSet<_> = (0..200).map(|_| first()).collect();
        assert_eq!(first.len(), 3);
    }
}
