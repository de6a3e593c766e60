//! Where the books are, and how to read them.

use std::num::ParseIntError;
use std::time::Duration;

use anyhow::Result;
use messaging::BrokerUrl;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// The two databases and the broker, and how to read them.
#[derive(Clone, Debug, clap::Args)]
pub struct Sources {
    /// The Web Store's database, for a user who may read. `postgres://user:password@host:port/database`
    #[arg(long, env = "WEB_STORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub web_store_database_url: PgConnectOptions,

    /// Marketing's database, for a user who may read. `mysql://user:password@host:port/database`
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub marketing_database_url: MySqlConnectOptions,

    /// The broker, for a user who may read all queues. `amqp://user:password@host:port/vhost`
    #[arg(long, env = "BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub broker_url: BrokerUrl,

    /// The broker that has Marketing's queues, where that is another one
    #[arg(long, env = "TARGET_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub target_broker_url: Option<BrokerUrl>,

    /// For how long somebody who is nowhere is looked for before they count as missing. By default
    /// longer than a broker takes to give a dead service's messages to others
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub patience: Duration,

    /// How many customers to read at once.
    #[arg(long, hide = true, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub page: u32,
}

impl Sources {
    /// The broker with the transformer's queues.
    pub(super) fn source(&self) -> &BrokerUrl {
        &self.broker_url
    }

    /// The broker with Marketing's queues.
    pub(super) fn target(&self) -> &BrokerUrl {
        self.target_broker_url.as_ref().unwrap_or(&self.broker_url)
    }
}

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_secs)
}
