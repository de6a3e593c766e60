//! A long run: faults one after another under load, each awaited until rows arrive again, and the verdict.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::fault_run::FaultRun;
use super::load::Load;
use super::recoveries::Recoveries;
use super::schedule::FaultSchedule;
use super::servers::LockedServers;
use super::system::System;
use super::verdict::{Verdict, evaluate};
use super::{on_own_servers, schedule};
use stack::servers::Servers;
use stack::service::Program;
use std::process::ExitCode;

/// Injects faults under load, one after another and in pairs.
///
/// Processes are killed and frozen, links are cut, slow, or half open, queues are deleted, and messages are
/// malformed or repeated. Finally the run compares its own list of confirmed registrations with both tables.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seed of the fault schedule; the same seed gives the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Duration of the fault schedule
    #[arg(long, default_value_t = 15.0)]
    minutes: f64,
    /// Registrations per second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Limits the run to kinds of fault whose name contains TEXT, such as `kill -9`
    #[arg(long, default_value = "", hide_default_value = true, value_parser = kind, value_name = "TEXT")]
    only: String,
    /// Has no effect on a fault run; accepted for scripts that use it with both subcommands
    #[arg(long, hide = true)]
    fail_fast: bool,
}

/// Runs the schedule on servers of its own. The exit status is 0 only if no customer is lost or duplicated.
///
/// # Errors
/// Returns an error if the system does not start or does not recover from a fault.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    on_own_servers(async |servers, log| {
        let verdict = Box::pin(fault_run(servers, arguments, log)).await?;
        println!("\n{}\n{verdict}", verdict.recoveries);
        Ok(verdict.is_clean())
    })
    .await
}

fn kind(text: &str) -> Result<String, String> {
    if schedule::has_kind(text) {
        Ok(text.to_owned())
    } else {
        Err("no kind of fault has this text in its name".into())
    }
}

/// Runs the faults, and judges when all is healed.
///
/// # Errors
/// If the system does not start, or does not recover from a fault.
async fn fault_run(servers: Servers, run: &Arguments, say: impl Fn(&str)) -> Result<Verdict> {
    let system = System::start(&servers).await?;
    let drill = FaultRun {
        load: Load::start(system.url(Program::WebStore), run.rate)?,
        servers: LockedServers::new(servers),
        bad_messages: Mutex::default(),
        system,
    };
    let mut recoveries = Recoveries::default();
    let started = Instant::now();
    let mut plan = FaultSchedule::new(run.seed, &run.only);
    let duration = Duration::from_secs_f64(run.minutes * 60.0);
    while started.elapsed() < duration {
        let (pause, faults) = plan.next();
        sleep(pause).await;
        let names: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let recovery = drill.go_through(&faults).await.with_context(|| names.join(" + "))?;
        let seconds = recovery.as_secs_f64();
        let at = started.elapsed().as_secs();
        say(&format!("{:02}:{:02}  {}: recovered in {seconds:.2} s", at / 60, at % 60, names.join(" + ")));
        recoveries.note(&faults, recovery);
    }
    drill.load.pause().await;
    drill.system.at_rest().await?;
    let mut verdict = evaluate(&drill, run.seed).await?;
    verdict.recoveries = recoveries;
    drill.servers.stop().await?;
    Ok(verdict)
}
