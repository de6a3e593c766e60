//! The transformer's settings.

use std::net::SocketAddr;

use clap::{ArgAction, Parser, Subcommand};
use messaging::BrokerUrl;
use service_kit::{HttpLimits, Logging, MetricsEndpoint};

/// Maps the Web Store's events to Marketing's commands
#[derive(Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Address on which the health routes listen
    #[arg(long, env = "TRANSFORMER_LISTEN", default_value = "127.0.0.1:8082")]
    pub(crate) listen: SocketAddr,

    /// Broker with the events: `amqp://user:password@host:port/vhost`, or
    /// `amqps://user:password@host:port/vhost?cacertfile=CA&certfile=CERTIFICATE&keyfile=KEY` for TLS. A cluster has a
    /// URL for each of its nodes, separated by commas
    #[arg(long, env = "TRANSFORMER_SOURCE_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) source_broker_url: BrokerUrl,

    /// Broker that takes the commands [default: the source broker]
    #[arg(long, env = "TRANSFORMER_TARGET_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) target_broker_url: Option<BrokerUrl>,

    /// Whether to ask the Web Store for earlier events after the transformer has created a queue. If false, health
    /// reports the gap until an operator has closed it
    #[arg(long, env = "TRANSFORMER_REPLAY_ON_NEW_QUEUE", value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set)]
    pub(crate) replay_on_new_queue: bool,

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
    /// Asks the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,
}
