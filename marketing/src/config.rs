//! Marketing's settings and subcommands.

use std::net::SocketAddr;

use access::Secret;
use clap::{ArgAction, Parser, Subcommand};
use messaging::BrokerUrl;
use service_kit::{HttpLimits, Logging, MetricsEndpoint, PasswordHash, TrustedProxies};

use crate::mysql::DatabaseUrl;

/// Keeps Marketing's list of customers, filled by the commands `CreateCustomer` and `UpdateCustomer`
#[derive(Debug, Parser)]
// Global, so that a setting can stand before and after the subcommand.
#[command(version, mut_args(|argument| argument.global(true)))]
pub struct Config {
    /// Address on which HTTP is served
    #[arg(long, env = "MARKETING_LISTEN", default_value = "127.0.0.1:8081")]
    pub(crate) listen: SocketAddr,

    /// Database, as the user that reads and writes rows: `mysql://user:password@host:port/database`,
    /// with `?ssl-mode=VERIFY_IDENTITY&ssl-ca=CA&ssl-cert=CERTIFICATE&ssl-key=KEY` for TLS. Of several hosts,
    /// `host1:port,host2:port`, each connection uses the first one that accepts writes. Required by `serve`
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<DatabaseUrl>,

    /// Database, as its owner, who applies migrations. Required by `migrate`. With this setting, `serve`
    /// applies migrations at start. Without it, `serve` waits until the schema is up to date
    #[arg(long, env = "MARKETING_OWNER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) owner_database_url: Option<DatabaseUrl>,

    /// Broker with the commands: `amqp://user:password@host:port/vhost`, or
    /// `amqps://user:password@host:port/vhost?cacertfile=CA&certfile=CERTIFICATE&keyfile=KEY` for TLS. A cluster has a
    /// URL for each of its nodes, separated by commas. Required by `serve`
    #[arg(long, env = "MARKETING_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) broker_url: Option<BrokerUrl>,

    /// Hash of the password for the list of customers, from `marketing hash-password`. Without it, the list
    /// is off. A new hash ends all log-in sessions
    #[arg(long, env = "MARKETING_OPERATOR_PASSWORD_HASH", value_name = "HASH", hide_env_values = true)]
    pub(crate) operator_password_hash: Option<Secret<PasswordHash>>,

    /// Whether to ask the senders for earlier commands after Marketing has created a queue. If false, health reports
    /// the gap until an operator has closed it
    #[arg(long, env = "MARKETING_REPLAY_ON_NEW_QUEUE", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set)]
    pub(crate) replay_on_new_queue: bool,

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
#[derive(Debug, Clone, Copy, Default, Subcommand)]
pub(crate) enum Command {
    /// Runs the service (the default)
    #[default]
    Serve,

    /// Applies the missing migrations to the database and exits
    Migrate,

    /// Asks the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,

    /// Asks for a password, or reads it from standard input, and prints its hash. Needs no settings
    HashPassword,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Command, Config};

    #[test]
    fn settings_work_with_and_without_a_subcommand() {
        for arguments in [
            &["--listen", "127.0.0.1:1"][..],
            &["--listen", "127.0.0.1:1", "serve"],
            &["serve", "--listen", "127.0.0.1:1", "--log", "info"],
        ] {
            let config = Config::try_parse_from([&["marketing"], arguments].concat()).unwrap();
            assert_eq!(config.listen, "127.0.0.1:1".parse().unwrap(), "{arguments:?}");
            assert!(matches!(config.command.unwrap_or_default(), Command::Serve));
        }
    }
}
