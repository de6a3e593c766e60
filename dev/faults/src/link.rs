//! The links between services and servers.

use stack::{ports::Ports, service::Program};

use crate::proxy::Protocol;

/// A link, in the order in which a registration crosses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// Customers and outbox rows are stored
    WebStoreToPostgres,
    /// The relay publishes events
    WebStoreToBroker,
    /// The transformer consumes events
    TransformerToSource,
    /// The transformer publishes commands
    TransformerToTarget,
    /// Marketing consumes commands
    MarketingToBroker,
    /// Marketing's rows are stored
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
            Self::WebStoreToPostgres => "web-store – PostgreSQL",
            Self::WebStoreToBroker => "web-store – broker",
            Self::TransformerToSource => "transformer – source broker",
            Self::TransformerToTarget => "transformer – target broker",
            Self::MarketingToBroker => "marketing – broker",
            Self::MarketingToMysql => "marketing – MySQL",
        }
    }

    /// Returns the service that opens the connections.
    pub(crate) fn service(self) -> Program {
        match self {
            Self::WebStoreToPostgres | Self::WebStoreToBroker => Program::WebStore,
            Self::TransformerToSource | Self::TransformerToTarget => Program::Transformer,
            Self::MarketingToBroker | Self::MarketingToMysql => Program::Marketing,
        }
    }

    /// Returns the port and the protocol of the server.
    pub(crate) fn server(self, ports: Ports) -> (u16, Protocol) {
        match self {
            Self::WebStoreToPostgres => (ports.postgres, Protocol::Postgres),
            Self::MarketingToMysql => (ports.mysql, Protocol::Mysql),
            Self::WebStoreToBroker | Self::TransformerToSource => (ports.broker, Protocol::Amqp),
            Self::TransformerToTarget | Self::MarketingToBroker => {
                (ports.broker_of_marketing().amqp, Protocol::Amqp)
            }
        }
    }
}
