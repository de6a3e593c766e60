//! Marketing's settings.

use std::net::SocketAddr;

use clap::Parser;
use messaging::BrokerUrl;
use service::{Command, Logging};
use sqlx::mysql::MySqlConnectOptions;

/// Marketing: keeps its own list of customers, filled by `CreateCustomer`
#[derive(Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP
    #[arg(long, env = "MARKETING_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// The service's own database user: it reads and writes rows. `mysql://user:password@host:port/database`
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: MySqlConnectOptions,

    /// The database's owner, used at start to bring the schema up to date. Leave it out where something
    /// else does that: the service then waits for the schema
    #[arg(long, env = "MARKETING_OWNER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub owner_database_url: Option<MySqlConnectOptions>,

    /// The broker that has the commands. `amqp://user:password@host:port/vhost`, `amqps://` for TLS
    #[arg(long, env = "MARKETING_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub broker_url: BrokerUrl,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the flattened struct has its own")]
    pub logging: Logging,

    /// What to do instead of being the service
    #[command(subcommand)]
    pub command: Option<Command>,
}
