//! The command line of the program `bench`.

use std::{path::PathBuf, time::Duration};

use crate::measurement::Measurement;

/// Measures the system on private servers, beside what these servers achieve alone.
///
/// Servers, services, and load share this machine, which should do nothing else meanwhile. The table goes to
/// standard output, the progress to standard error. The largest table needs some GiB below `--dir`.
#[derive(Debug, clap::Parser)]
#[command(name = "bench", version)]
pub struct Arguments {
    /// The measurements; all of them if none is named.
    pub(crate) measurements: Vec<Measurement>,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// The servers use a temporary directory below this one. It must be on a disk: in memory, commits cost
    /// nothing.
    #[arg(long, default_value = "target")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) scale: Scale,
}

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
    /// Messages in one run through the queues alone.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) messages: u32,
    /// Events that wait in the outbox before a drain.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) waiting: u32,
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

    pub(crate) fn latency_duration(&self) -> Duration {
        Duration::from_secs_f64(self.latency_seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Arguments;
    use crate::measurement::Measurement;

    #[test]
    fn former_measurement_name_is_accepted() {
        let arguments = Arguments::try_parse_from(["bench", "limits", "baselines"]).unwrap();
        assert_eq!(arguments.measurements, [Measurement::Baselines; 2]);
    }
}
