//! The command line of the program `bench`.

use std::path::PathBuf;

use crate::{measurement::Measurement, scale::Scale};

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
