//! The sizes of the measurements.

use std::time::Duration;

/// The sizes of the measurements. The defaults give reproducible figures. Smaller values are for tests.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Scale {
    /// Registrations in one run at saturation.
    #[arg(long, default_value_t = 30_000)]
    pub(crate) registrations: u32,
    /// The duration of one run of requests or statements.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// The duration of one run of latencies.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) latency_seconds: f64,
    /// The longest wait for an idle disk before latencies are measured, in seconds. Servers write a little in the
    /// background, sometimes for a long time.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) idle_seconds: f64,
    /// Messages in one run through the queues alone.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) messages: u32,
    /// Events that wait in the outbox before a drain.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) waiting: u32,
    /// Customers that a replay sends.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) replayed: u32,
    /// The largest backlog. The others are the powers of ten from 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) largest_backlog: u32,
    /// The largest table of Marketing's. The others are the powers of ten from 1,000.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    pub(crate) largest_table: u32,
}

impl Scale {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn idle_limit(&self) -> Duration {
        Duration::from_secs_f64(self.idle_seconds)
    }

    pub(crate) fn latency_duration(&self) -> Duration {
        Duration::from_secs_f64(self.latency_seconds)
    }
}
