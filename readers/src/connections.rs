//! The databases and the brokers of both applications.

use std::ptr;

use access::{MysqlUrl, PostgresUrl, Secret};
use contracts::topology::{
    ERASURE_QUEUES, QUEUES, Queue, REQUEST_QUEUES, WEB_STORE_COMMANDS, WEB_STORE_ERASURES, WEB_STORE_EVENTS,
};
use messaging::BrokerUrl;

/// The two databases and the brokers.
#[derive(Debug, Clone, clap::Args)]
pub struct Connections {
    /// Database of the Web Store, for a user who may read: `postgres://user:password@host:port/database`. Of several
    /// hosts, `host1:port,host2:port`, the console uses the first one that accepts writes
    #[arg(long, env = "WEB_STORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub web_store_database_url: Secret<PostgresUrl>,

    /// Database of Marketing, for a user who may read: `mysql://user:password@host:port/database`. Of several hosts,
    /// `host1:port,host2:port`, the console uses the first one that accepts writes
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub marketing_database_url: Secret<MysqlUrl>,

    /// The brokers.
    #[command(flatten)]
    pub brokers: Brokers,
}

/// The broker of each application, which can be the same.
#[derive(Debug, Clone, clap::Args)]
pub struct Brokers {
    /// Broker, for a user who may read the dead letters: `amqp://user:password@host:port/vhost`. A cluster has a URL for
    /// each of its nodes, separated by commas
    #[arg(long, env = "BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub broker_url: BrokerUrl,

    /// Broker with Marketing's queues [default: the broker above]
    #[arg(long, env = "TARGET_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub target_broker_url: Option<BrokerUrl>,
}

impl Brokers {
    /// Returns the broker of the Web Store.
    #[must_use]
    pub fn source(&self) -> &BrokerUrl {
        &self.broker_url
    }

    /// Returns the broker of Marketing.
    #[must_use]
    pub fn target(&self) -> &BrokerUrl {
        self.target_broker_url.as_ref().unwrap_or(&self.broker_url)
    }

    /// Returns each broker once.
    pub fn all(&self) -> impl Iterator<Item = &BrokerUrl> {
        [&self.broker_url].into_iter().chain(&self.target_broker_url)
    }

    /// Returns the environment variable with the URL of one of these brokers.
    #[must_use]
    pub fn variable(&self, broker: &BrokerUrl) -> &'static str {
        if ptr::eq(broker, self.source()) { "BROKER_URL" } else { "TARGET_BROKER_URL" }
    }

    /// Returns the sentence about a broker that cannot be read.
    #[must_use]
    pub fn remedy(variable: &str) -> String {
        format!("the broker cannot be read; check that it runs and that {variable} leads to it")
    }

    /// Returns the broker with a queue: the one of the application whose exchange the queue is bound to.
    #[must_use]
    pub fn of(&self, queue: &Queue) -> &BrokerUrl {
        let exchanges = [WEB_STORE_EVENTS, WEB_STORE_COMMANDS, WEB_STORE_ERASURES];
        let is_source = exchanges.contains(&queue.exchange);
        if is_source { self.source() } else { self.target() }
    }
}

/// Returns all queues with a consumer, in the order of the messages' way.
pub fn work_queues() -> impl Iterator<Item = &'static Queue> {
    QUEUES.iter().chain(REQUEST_QUEUES).chain(ERASURE_QUEUES)
}
