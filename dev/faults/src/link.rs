//! The links between services and servers.

use crate::proxy::Protocol;
use stack::ports::Ports;
use stack::service::Program;

/// The links, in the order in which a registration crosses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// Customers and outbox.
    WebStoreToPostgres,
    /// The relay's.
    WebStoreToBroker,
    /// Where the transformer takes events.
    TransformerToSource,
    /// Where it puts commands.
    TransformerToTarget,
    /// Where Marketing takes commands.
    MarketingToBroker,
    /// Marketing's rows.
    MarketingToMysql,
}

impl Link {
    pub(crate) const ALL: [Self; 6] = [
        Self::WebStoreToPostgres,
        Self::WebStoreToBroker,
        Self::TransformerToSource,
        Self::TransformerToTarget,
        Self::MarketingToBroker,
        Self::MarketingToMysql,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebStoreToPostgres => "web-store – Postgres",
            Self::WebStoreToBroker => "web-store – broker",
            Self::TransformerToSource => "transformer – source",
            Self::TransformerToTarget => "transformer – target",
            Self::MarketingToBroker => "marketing – broker",
            Self::MarketingToMysql => "marketing – MySQL",
        }
    }

    /// The service at its near end.
    pub(crate) fn service(self) -> Program {
        match self {
            Self::WebStoreToPostgres | Self::WebStoreToBroker => Program::WebStore,
            Self::TransformerToSource | Self::TransformerToTarget => Program::Transformer,
            Self::MarketingToBroker | Self::MarketingToMysql => Program::Marketing,
        }
    }

    /// The server's port at its far end, and what is spoken.
    pub(super) fn server(self, ports: Ports) -> (u16, Protocol) {
        match self {
            Self::WebStoreToPostgres => (ports.postgres, Protocol::Postgres),
            Self::MarketingToMysql => (ports.mysql, Protocol::Mysql),
            _ => (ports.broker, Protocol::Amqp),
        }
    }
}
