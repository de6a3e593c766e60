//! Logging to standard error, one line per event, without personal data.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
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

    /// Format of the log. Without this setting, it is `text` on a terminal, and otherwise `json`
    #[arg(long = "log-format", env = "LOG_FORMAT", value_name = "FORMAT", value_enum)]
    format: Option<LogFormat>,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
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
        let is_terminal = io::stderr().is_terminal();
        let default = if is_terminal { LogFormat::Text } else { LogFormat::Json };
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(is_terminal)
            .with_target(false);
        let registry = tracing_subscriber::registry().with(filter);
        match self.format.unwrap_or(default) {
            LogFormat::Text => registry.with(lines).init(),
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        }
        Ok(())
    }
}
