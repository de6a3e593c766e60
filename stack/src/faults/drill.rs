//! A long run: faults one after another under load, each awaited until rows arrive again, and the verdict.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::NaiveDateTime;
use tokio::time::{Instant, sleep};

use super::fault::Fault;
use super::load::Load;
use super::plan::Plan;
use super::recoveries::Recoveries;
use super::servers::LockedServers;
use super::system::System;
use super::verdict::{Verdict, judge};
use crate::servers::Servers;
use crate::service::Program;

/// Whatever has not recovered by then does not recover by itself.
const RECOVERED: Duration = Duration::from_mins(2);

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

/// Everything that a fault may touch.
pub(super) struct Drill {
    pub(super) system: System,
    pub(super) servers: LockedServers,
    pub(super) load: Load,
    /// The bad messages that were sent, and whether the broker has taken each.
    pub(super) bad_messages: Mutex<Vec<(String, bool)>>,
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

impl Drill {
    /// One fault or several at once; the time from their end to the next row in Marketing.
    async fn go_through(&self, faults: &[Fault]) -> Result<Duration> {
        let inflicting = faults.iter().map(|fault| Box::pin(self.inflict(fault)));
        futures_util::future::try_join_all(inflicting).await?;
        let healed = Instant::now();
        let mut before = None;
        while healed.elapsed() < RECOVERED {
            match (self.newest_row().await, before) {
                (Some(now), Some(before)) if now > before => return Ok(healed.elapsed()),
                (Some(now), None) => before = Some(now),
                _ => {}
            }
            sleep(Duration::from_millis(10)).await;
        }
        let log = self.system.site.log();
        let end = log.char_indices().rev().nth(8000).map_or(0, |(at, _)| at);
        anyhow::bail!("no row arrived within {RECOVERED:?}; the services' logs end with\n{}", &log[end..])
    }

    /// When the newest row was written; `None` while the server does not answer, or has none.
    async fn newest_row(&self) -> Option<NaiveDateTime> {
        let newest = "SELECT received_at FROM customers ORDER BY received_at DESC LIMIT 1";
        sqlx::query_scalar(newest).fetch_optional(&self.system.rows).await.ok()?
    }
}
