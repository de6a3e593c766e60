//! A long run: faults one after another under load, each awaited until rows arrive again, and the verdict.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::drill::Drill;
use super::load::Load;
use super::plan::Plan;
use super::recoveries::Recoveries;
use super::servers::LockedServers;
use super::system::System;
use super::verdict::{Verdict, judge};
use crate::servers::Servers;
use crate::service::Program;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Run {
    /// What decides the faults.
    pub seed: u64,
    /// Only the kinds of fault whose name holds this text.
    pub only: String,
    /// How long faults go on.
    pub time: Duration,
    /// Registrations a second.
    pub rate: u32,
}

/// Runs the faults, and judges when all is healed.
///
/// # Errors
/// If the system does not start, or does not recover from a fault.
pub async fn drill(servers: Servers, run: Run, say: impl Fn(&str)) -> Result<Verdict> {
    let system = System::start(&servers).await?;
    let drill = Drill {
        load: Load::start(system.url(Program::WebStore), run.rate),
        servers: LockedServers::new(servers),
        bad_messages: Mutex::default(),
        system,
    };
    let mut recoveries = Recoveries::default();
    let started = Instant::now();
    let mut plan = Plan::new(run.seed, &run.only);
    while started.elapsed() < run.time {
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
    let mut verdict = judge(&drill, run.seed).await?;
    verdict.recoveries = recoveries;
    drill.servers.stop().await?;
    Ok(verdict)
}
