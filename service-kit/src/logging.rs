//! Logging to standard error, one line per event, without personal data.

use std::io::{self, IsTerminal};

use clap::Args;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Log lines that no filter enables, because they contain customers' names and e-mail addresses: the AMQP
/// client logs a returned message with its body, and sqlx logs a slow statement.
const ALWAYS_OFF: [&str; 2] = ["lapin::returned_messages=off", "sqlx::query=off"];

/// Settings of the log.
#[derive(Debug, Args)]
pub struct Logging {
    /// Level of the log (error, warn, info, debug, trace), or levels per module such as
    /// `info,messaging=debug`
    #[arg(long = "log", env = "RUST_LOG", value_name = "FILTER", default_value = "info,lapin=off")]
    filter: String,
}

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// Returns an error if the filter is invalid.
    pub fn init(&self) -> anyhow::Result<()> {
        let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
        let mut filter = builder
            .parse(&self.filter)
            .map_err(|error| anyhow::anyhow!("--log or RUST_LOG `{}`: {error}", self.filter))?;
        for directive in ALWAYS_OFF {
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
