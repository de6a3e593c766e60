//! Logging to standard error, one line an event, without personal data.

use std::io::{self, IsTerminal};

use clap::Args;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The AMQP client logs a returned message with its body, and sqlx a slow statement: whatever is asked
/// for, these stay silent, since customers' names and addresses do not belong in a log.
const NEVER: [&str; 2] = ["lapin::returned_messages=off", "sqlx::query=off"];

/// How to log.
#[derive(Debug, Args)]
pub struct Logging {
    /// What to log: a level (error, warn, info, debug, trace), or levels by module such as
    /// `info,messaging=debug`
    #[arg(long = "log", env = "RUST_LOG", value_name = "FILTER", default_value = "info,lapin=off")]
    filter: String,
}

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// The filter cannot be parsed.
    pub fn init(&self) -> anyhow::Result<()> {
        let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
        let mut filter = builder
            .parse(&self.filter)
            .map_err(|error| anyhow::anyhow!("--log `{}`: {error}", self.filter))?;
        for directive in NEVER {
            filter = filter.add_directive(directive.parse()?);
        }
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(())
    }
}
