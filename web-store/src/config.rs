//! The Web Store's settings.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use messaging::BrokerUrl;
use service_kit::{Logging, TrustedProxies};
use sqlx::postgres::PgConnectOptions;

use crate::republish;

/// The Web Store: registers customers and publishes `CustomerRegistered` and `CustomerDetailsChanged`
#[derive(Debug, Parser)]
#[command(version, subcommand_negates_reqs = true)]
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

    /// The broker to publish to; commands do without. `amqp://user:password@host:port/vhost`, `amqps://` for TLS
    #[arg(long, env = "WEB_STORE_BROKER_URL", value_name = "URL", hide_env_values = true, required = true)]
    pub broker_url: Option<BrokerUrl>,

    /// Connections to the database for requests, besides the two that register
    #[arg(long, env = "WEB_STORE_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 10)]
    pub database_connections: u32,

    /// How often one client address may register somebody; 0 means without a limit
    #[arg(long, env = "WEB_STORE_REGISTRATIONS_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub registrations_per_minute: u32,

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

/// What the program can do besides being the service.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,

    /// Send the events of customers again, under their original message ids
    ///
    /// For customers whose messages were lost on the way. It writes to the outbox, and a running Web Store
    /// sends what it finds there; who has arrived already does not arrive twice. Without arguments the
    /// customers' ids are read from standard input, one a line, as `stack reconcile --missing-ids` prints them
    Republish(republish::Arguments),
}
