//! The databases and brokers that reconciliation reads.

use std::time::Duration;

use messaging::BrokerUrl;
use service_kit::parse_seconds;
use sqlx::{mysql::MySqlConnectOptions, postgres::PgConnectOptions};

/// The two databases, the brokers, and the limits of reading them.
#[derive(Debug, Clone, clap::Args)]
pub struct Sources {
    /// Database of the Web Store, for a user who may read: `postgres://user:password@host:port/database`
    #[arg(long, env = "WEB_STORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub web_store_database_url: PgConnectOptions,

    /// Database of Marketing, for a user who may read: `mysql://user:password@host:port/database`
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub marketing_database_url: MySqlConnectOptions,

    /// Broker, for a user who may read the dead letters: `amqp://user:password@host:port/vhost`
    #[arg(long, env = "BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub broker_url: BrokerUrl,

    /// Broker with Marketing's queues [default: the broker above]
    #[arg(long, env = "TARGET_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub target_broker_url: Option<BrokerUrl>,

    /// Time to wait until the messages of a run have passed the queues; 0 means one look
    ///
    /// Customers without evidence at its end are on the way. The default is longer than a broker needs to release the
    /// messages of a dead service.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    pub patience: Duration,

    /// Customers per page
    #[arg(long, hide = true, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub page: u32,
}

impl Sources {
    /// Returns the broker with the transformer's queues.
    pub(super) fn source_broker(&self) -> &BrokerUrl {
        &self.broker_url
    }

    /// Returns the broker with Marketing's queues.
    pub(super) fn target_broker(&self) -> &BrokerUrl {
        self.target_broker_url.as_ref().unwrap_or(&self.broker_url)
    }
}
