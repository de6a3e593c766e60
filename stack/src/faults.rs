//! `stack faults`: breaks the system on purpose, and shows that nobody who was registered is lost or doubled.

mod every_frame;
mod system;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::console::say;
use crate::servers::Servers;
use crate::stop_signal::StopSignal;

pub use every_frame::{Tally, every_frame};

/// Breaks the system on purpose, on servers of its own, and shows that nobody is lost or doubled.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// For one registration, stop each link before each of its messages: cut it there, and kill the service
    /// there.
    #[arg(long)]
    every_frame: bool,
    /// Only so many of these points, which the seed chooses.
    #[arg(long, requires = "every_frame", value_name = "POINTS")]
    sample: Option<usize>,
    /// What decides the faults; the same seed decides the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it; the exit status is 0 only if nobody was lost or doubled.
///
/// # Errors
/// If the servers do not start, or the system does not come back after a fault.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let directory = tempfile::tempdir().context("a directory for the servers")?;
    tokio::select! {
        outcome = run_on_servers(arguments, directory.path()) => outcome,
        () = stop.wait() => Ok(ExitCode::FAILURE),
    }
}

async fn run_on_servers(arguments: &Arguments, directory: &std::path::Path) -> Result<ExitCode> {
    let mut servers = Servers::start(directory, |line| say("faults", line)).await?;
    let tally = every_frame(&servers, arguments.sample, arguments.seed, |line| say("faults", line)).await?;
    println!("{tally}");
    servers.stop().await?;
    let clean = tally.lost == 0 && tally.doubled == 0 && tally.cut > 0 && tally.killed > 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
