//! `stack faults`: breaks the system on purpose, and shows that nobody who was registered is lost or doubled.

mod customer;
mod drill;
mod every_frame;
mod fault;
mod inflict;
mod link;
mod load;
mod mistakes;
mod plan;
mod recoveries;
mod rest;
mod run;
mod servers;
mod strangers;
mod system;
mod tally;
mod verdict;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::console::say;
use crate::servers::Servers;
use crate::stop_signal::StopSignal;

pub use every_frame::{Points, every_frame};
pub(crate) use fault::QUEUES;
pub use link::Link;
pub(crate) use load::Load;
pub use recoveries::Recoveries;
pub use run::{Run, drill};
pub(crate) use system::System;
pub use tally::Tally;
pub use verdict::Verdict;

/// Breaks the system on purpose, on servers of its own, and shows that nobody is lost or doubled.
///
/// Under load, one fault follows another, alone or in pairs: processes killed and frozen, links cut, slow
/// or half open, queues deleted, bad messages, copies. At the end the load's own list of who was told
/// "registered" is compared with both tables.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What decides the faults; the same seed decides the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults go on.
    #[arg(long, default_value_t = 15.0)]
    minutes: f64,
    /// Registrations a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Only the kinds of fault whose name holds this text, such as `kill -9`.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = kind, value_name = "TEXT")]
    only: String,
    /// Instead: for one registration, stop each link before each of its messages; cut it there, and kill
    /// the service there.
    #[arg(long)]
    every_frame: bool,
    /// Only so many of these points, which the seed chooses.
    #[arg(long, requires = "every_frame", value_name = "POINTS")]
    sample: Option<usize>,
    /// Only the points of one link.
    #[arg(long, requires = "every_frame")]
    link: Option<Link>,
    /// No more points after the first at which somebody is lost or doubled.
    #[arg(long)]
    fail_fast: bool,
}

/// Runs it; the exit status is 0 only if nobody was lost or doubled.
///
/// # Errors
/// If the servers do not start, or the system does not come back after a fault.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let directory = tempfile::tempdir().context("a directory for the servers")?;
    let clean = tokio::select! {
        clean = run_on_servers(arguments, directory.path()) => clean?,
        () = stop.wait() => false,
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_on_servers(arguments: &Arguments, directory: &Path) -> Result<bool> {
    let tell = |line: &str| say("faults", line);
    let mut servers = Servers::start(directory, tell).await?;
    if arguments.every_frame {
        let Arguments { sample, seed, link, fail_fast, .. } = *arguments;
        let tally = every_frame(&servers, Points { sample, seed, link, fail_fast }, tell).await?;
        println!("{tally}");
        servers.stop().await?;
        return Ok(tally.is_clean());
    }
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    let run = Run { seed: arguments.seed, only: arguments.only.clone(), time, rate: arguments.rate };
    let verdict = Box::pin(drill(servers, run, tell)).await?;
    println!("\n{}\n{verdict}", verdict.recoveries);
    Ok(verdict.is_clean())
}

fn kind(text: &str) -> Result<String, String> {
    if plan::has_kind(text) {
        Ok(text.to_owned())
    } else {
        Err("no kind of fault has this in its name".into())
    }
}
