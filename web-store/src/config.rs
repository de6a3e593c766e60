//! The Web Store's settings.

use std::net::SocketAddr;

use clap::Parser;
use messaging::BrokerUrl;
use service::{Command, Logging};
use sqlx::postgres::PgConnectOptions;

/// The Web Store: registers customers and publishes `CustomerRegistered`
#[derive(Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP
    #[arg(long, env = "WEB_STORE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The service's own database user: it reads and writes rows.
    /// `postgres://user:password@host:port/database`
    #[arg(long, env = "WEB_STORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: PgConnectOptions,

    /// The database's owner, used at start to bring the schema up to date. Leave it out where something
    /// else does that: the service then waits for the schema
    #[arg(long, env = "WEB_STORE_OWNER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub owner_database_url: Option<PgConnectOptions>,

    /// The broker to publish to. `amqp://user:password@host:port/vhost`, `amqps://` for TLS
    #[arg(long, env = "WEB_STORE_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub broker_url: BrokerUrl,

    /// Connections to the database that serve requests
    #[arg(long, env = "WEB_STORE_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 10)]
    pub database_connections: u32,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the flattened struct has its own")]
    pub logging: Logging,

    /// What to do instead of being the service
    #[command(subcommand)]
    pub command: Option<Command>,
}
