//! How much is measured.

use std::time::Duration;

/// How much is measured. The defaults give figures that repeat; less shows that it works.
#[derive(Clone, Debug, clap::Args)]
pub struct Scale {
    /// Registrations in one run at saturation.
    #[arg(long, default_value_t = 30_000)]
    pub(super) registrations: u32,
    /// How long one run of requests, or of statements, takes.
    #[arg(long, default_value_t = 5.0)]
    pub(super) seconds: f64,
    /// How long latency is watched in one run.
    #[arg(long, default_value_t = 20.0)]
    pub(super) latency_seconds: f64,
    /// Messages in one run through the queues alone.
    #[arg(long, default_value_t = 50_000)]
    pub(super) messages: u32,
    /// Events that wait in the outbox before a drain.
    #[arg(long, default_value_t = 100_000)]
    pub(super) waiting: u32,
    /// The largest backlog; the others are the powers of ten from 1,000 on.
    #[arg(long, default_value_t = 1_000_000)]
    pub(super) largest_backlog: u32,
    /// The largest table of Marketing's; the others are the powers of ten from 1,000 on.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    pub(super) largest_table: u32,
}

impl Scale {
    pub(super) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(super) fn latency_time(&self) -> Duration {
        Duration::from_secs_f64(self.latency_seconds)
    }
}
