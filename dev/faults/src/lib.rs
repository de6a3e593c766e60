//! Breaks the system on purpose and shows that no registered customer is lost or duplicated.

mod bad_messages;
mod customer;
mod fault;
mod fault_run;
mod inject;
mod link;
mod load;
pub mod memory;
mod operator_errors;
pub mod proxy;
mod quiescence;
mod recoveries;
pub mod run;
mod schedule;
mod servers;
pub mod sweep;
mod system;
mod tally;
mod verdict;

use std::process::ExitCode;

use anyhow::{Context, Result};
use stack::{servers::Servers, stop_signal::StopSignal, terminal::print_line};

pub use link::Link;
pub use recoveries::Recoveries;
pub use tally::Tally;
pub use verdict::Verdict;

/// Runs a check on fresh private servers until it ends or a signal asks to stop. The exit status is 0 only
/// if the check returns `true`.
async fn on_own_servers(check: impl AsyncFnOnce(Servers, fn(&str)) -> Result<bool>) -> Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let directory = tempfile::tempdir().context("cannot create a directory for the servers")?;
    let log: fn(&str) = |line| print_line("faults", line);
    let run = async { check(Servers::start(directory.path(), log).await?, log).await };
    let clean = tokio::select! {
        clean = run => clean?,
        () = stop.wait() => false,
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
