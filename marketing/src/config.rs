//! Marketing's settings.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use messaging::BrokerUrl;
use service_kit::{Logging, TrustedProxies};
use sqlx::mysql::MySqlConnectOptions;

use crate::operator::PasswordHash;

/// Marketing: keeps its own list of customers, filled by `CreateCustomer` and `UpdateCustomer`
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

    /// The hash of the password for the list of customers, as `marketing hash-password` makes it. Without
    /// one the list is off
    #[arg(long, env = "MARKETING_OPERATOR_PASSWORD_HASH", value_name = "HASH", hide_env_values = true)]
    pub operator_password_hash: Option<PasswordHash>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the flattened struct has its own")]
    pub proxies: TrustedProxies,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the flattened struct has its own")]
    pub logging: Logging,

    /// What to do instead of being the service
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Without a command the program is the service.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Asks the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,
    /// Ask for a password, or read it from standard input, and print its hash; needs no setting
    HashPassword,
}
