//! The transformer's settings.

use std::net::SocketAddr;

use clap::Parser;
use messaging::BrokerUrl;
use service_kit::{Command, Logging};

/// The transformer: maps the Web Store's events to Marketing's commands
#[derive(Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Where to serve HTTP
    #[arg(long, env = "TRANSFORMER_LISTEN", default_value = "127.0.0.1:8082")]
    pub listen: SocketAddr,

    /// The broker that has the events. `amqp://user:password@host:port/vhost`, `amqps://` for TLS
    #[arg(long, env = "TRANSFORMER_SOURCE_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub source_broker_url: BrokerUrl,

    /// The broker that takes the commands [default: the source]
    #[arg(long, env = "TRANSFORMER_TARGET_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub target_broker_url: Option<BrokerUrl>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the flattened struct has its own")]
    pub logging: Logging,

    /// What to do instead of being the service
    #[command(subcommand)]
    pub command: Option<Command>,
}
