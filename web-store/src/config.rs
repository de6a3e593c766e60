//! The Web Store's settings and subcommands.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, Subcommand};
use messaging::BrokerUrl;
use service_kit::{HttpLimits, Logging, MetricsEndpoint, TrustedProxies, parse_seconds};

use crate::{postgres::DatabaseUrl, republish};

/// Registers customers and publishes `CustomerRegistered` and `CustomerDetailsChanged`
#[derive(Debug, Parser)]
// Global, so that a setting can stand before and after the subcommand.
#[command(version, mut_args(|argument| argument.global(true)))]
pub struct Config {
    /// Address on which HTTP is served
    #[arg(long, env = "WEB_STORE_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Database, as the user that reads and writes rows: `postgres://user:password@host:port/database`,
    /// with `?sslmode=verify-full&sslrootcert=CA&sslcert=CERTIFICATE&sslkey=KEY` for TLS. Of several hosts,
    /// `host1:port,host2:port`, each connection uses the first one that accepts writes. Required by `serve` and `republish`
    #[arg(long, env = "WEB_STORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<DatabaseUrl>,

    /// Database, as its owner, who applies migrations. Required by `migrate`. With this setting, `serve` applies
    /// migrations at start. Without it, `serve` waits until the schema is up to date
    #[arg(long, env = "WEB_STORE_OWNER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) owner_database_url: Option<DatabaseUrl>,

    /// Broker that takes the events: `amqp://user:password@host:port/vhost`, or
    /// `amqps://user:password@host:port/vhost?cacertfile=CA&certfile=CERTIFICATE&keyfile=KEY` for TLS. A cluster has a
    /// URL for each of its nodes, separated by commas. Required by `serve`
    #[arg(long, env = "WEB_STORE_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) broker_url: Option<BrokerUrl>,

    /// Largest number of database connections for requests. Registrations use two more, and the relay one
    #[arg(long, env = "WEB_STORE_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 10)]
    pub(crate) database_connections: u32,

    /// Largest number of registrations per minute from one client address, and of changes of details. 0 means no
    /// limit
    #[arg(long, env = "WEB_STORE_REGISTRATIONS_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub(crate) registrations_per_minute: u32,

    /// Seconds between two probes, which take the way of the events into Marketing and change nothing. 0 means no
    /// probes
    #[arg(long = "probe-interval-seconds", env = "PROBE_INTERVAL_SECONDS", value_name = "SECONDS",
          default_value = "10", value_parser = parse_seconds)]
    pub(crate) probe_interval: Duration,

    #[command(flatten)]
    pub(crate) proxies: TrustedProxies,

    #[command(flatten)]
    pub(crate) http: HttpLimits,

    #[command(flatten)]
    pub(crate) metrics: MetricsEndpoint,

    #[command(flatten)]
    pub(crate) logging: Logging,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Subcommands of the program.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the service (the default)
    Serve,

    /// Applies the missing migrations to the database and exits
    Migrate,

    /// Publishes events of customers again, under their original message ids
    ///
    /// Use it for customers whose messages were lost. It writes to the outbox, and a running Web Store publishes
    /// from there. Duplicates have no effect in Marketing. Without arguments, the ids of customers are read from
    /// standard input, one per line, as `console reconcile --missing-ids` prints them
    Republish(republish::Arguments),

    /// Asks the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::Parser;

    use super::{Command, Config};

    #[test]
    fn settings_work_with_and_without_a_subcommand() {
        let listen: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for arguments in [
            &["--listen", "127.0.0.1:1"][..],
            &["--listen", "127.0.0.1:1", "serve"],
            &["serve", "--listen", "127.0.0.1:1"],
            &["serve", "--listen", "127.0.0.1:1", "--log", "info"],
        ] {
            let config = Config::try_parse_from([&["web-store"], arguments].concat()).unwrap();
            assert_eq!(config.listen, listen, "{arguments:?}");
            assert!(matches!(config.command, None | Some(Command::Serve)));
        }
    }
}
