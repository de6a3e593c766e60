//! A fault run: injects faults under load, waits for the recovery from each, and evaluates the result.

use std::{collections::HashSet, time::Duration};

use anyhow::Context;
use chrono::{NaiveDateTime, Utc};
use futures_util::future::try_join_all;
use stack::{servers::Servers, service::Program};
use system_tests::eventually;
use tokio::time::{Instant, sleep};

use crate::{
    fault::Fault,
    fault_run::FaultRun,
    load::Load,
    locked_servers::LockedServers,
    recoveries::Recoveries,
    recovery::RECOVERY_TIMEOUT,
    schedule::{self, FaultSchedule},
    system::System,
    verdict::Verdict,
};

/// Injects faults under load, one after another and in pairs.
///
/// Kills and freezes processes; cuts, slows down, and silences links; locks and fills databases; withdraws parts of
/// the topology and permissions; and publishes poison messages. Finally compares the confirmed registrations with
/// both tables, and all dead letters with the poison messages.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArguments {
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
    #[arg(long, value_name = "TEXT", value_parser = parse_kind)]
    #[arg(default_value = "", hide_default_value = true)]
    only: String,
    /// Checks all customers after each fault, and stops when one is lost or duplicated
    #[arg(long)]
    fail_fast: bool,
    /// Runs `console reconcile --watch` beside the services, and adds faults that lose messages
    ///
    /// The system has then recovered only when each customer has a row who was registered before the fault ended.
    #[arg(long)]
    watch: bool,
}

fn parse_kind(text: &str) -> Result<String, String> {
    let names = schedule::names();
    if names.iter().any(|name| name.contains(text)) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = names.into_iter().collect();
    Err(format!("no kind of fault has this text in its name; the kinds are:\n  {}", names.join("\n  ")))
}

/// Runs the faults of a schedule, and evaluates the result after the system has become quiescent.
pub(crate) async fn run(
    servers: Servers,
    arguments: &RunArguments,
    log: impl Fn(&str),
) -> anyhow::Result<Verdict> {
    let mut schedule = FaultSchedule::new(arguments.seed, &arguments.only, arguments.watch)?;
    let system = System::start(&servers).await?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    let console = arguments.watch.then(|| system.environment.start_console(&[])).transpose()?;
    let run = FaultRun::new(system, LockedServers::new(servers), load, arguments.seed, console);
    let mut recoveries = Recoveries::default();
    let started = Instant::now();
    let duration = Duration::from_secs_f64(arguments.minutes * 60.0);
    while started.elapsed() < duration {
        let (pause, faults) = schedule.next();
        sleep(pause).await;
        let names = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
        let recovery = run.inject_and_recover(&faults).await.with_context(|| names.clone())?;
        let elapsed = started.elapsed().as_secs();
        log(&format!(
            "{:02}:{:02}  {names}: recovered in {:.2} s",
            elapsed / 60,
            elapsed % 60,
            recovery.as_secs_f64()
        ));
        recoveries.record(&faults, recovery);
        if arguments.fail_fast && !run.customers_are_consistent().await? {
            log("a customer is lost or duplicated");
            break;
        }
    }
    run.load.pause().await;
    run.system.wait_until_quiescent().await?;
    if run.console.is_some() {
        // The last customers may be part of a loss.
        let all_have_arrived = async || run.all_have_arrived(Utc::now().naive_utc()).await.then_some(());
        eventually(RECOVERY_TIMEOUT, "all customers have arrived", all_have_arrived).await?;
        run.system.wait_until_quiescent().await?;
    }
    let verdict = run.evaluate(arguments.seed, recoveries).await?;
    run.servers.stop().await?;
    Ok(verdict)
}

impl FaultRun {
    /// Injects all faults simultaneously. Returns the time from their end until a customer who was registered after
    /// it has a row in Marketing. With a console that repairs losses, all earlier customers have one, too.
    ///
    /// The next row would prove nothing: messages behind a deleted exchange or binding still arrive.
    async fn inject_and_recover(&self, faults: &[Fault]) -> anyhow::Result<Duration> {
        try_join_all(faults.iter().map(|fault| fault.inject(self))).await?;
        let restored = Instant::now();
        let restored_at = Utc::now().naive_utc();
        let all_have_arrived = async || self.console.is_none() || self.all_have_arrived(restored_at).await;
        self.system.wait_for_registration_after(restored_at, all_have_arrived).await?;
        Ok(restored.elapsed())
    }

    /// Returns whether each customer who was registered until `time` has a row, or `false` if a server is unavailable.
    ///
    /// Customers who have arrived once are not checked again until the end of the run.
    async fn all_have_arrived(&self, time: NaiveDateTime) -> bool {
        let mut checked = self.checked_until.lock().await;
        match self.missing_customers(*checked, time).await {
            Ok(0) => {
                *checked = time;
                true
            }
            _ => false,
        }
    }

    async fn missing_customers(&self, since: NaiveDateTime, until: NaiveDateTime) -> anyhow::Result<usize> {
        let stored = "SELECT id::text FROM customers WHERE registered_at > $1 AND registered_at <= $2";
        let stored: Vec<String> = sqlx::query_scalar(stored)
            .bind(since.and_utc())
            .bind(until.and_utc())
            .fetch_all(&self.system.web_store_database)
            .await?;
        let rows = "SELECT customer_id FROM customers WHERE customer_since > ? AND customer_since <= ?";
        let rows: Vec<String> = sqlx::query_scalar(rows)
            .bind(since)
            .bind(until)
            .fetch_all(&self.system.marketing_database)
            .await?;
        let rows: HashSet<_> = rows.into_iter().collect();
        Ok(stored.iter().filter(|id| !rows.contains(*id)).count())
    }

    /// Pauses the load until the system is quiescent, and returns whether no customer is lost or duplicated.
    async fn customers_are_consistent(&self) -> anyhow::Result<bool> {
        self.load.pause().await;
        self.system.wait_until_quiescent().await?;
        let customers = self.read_customers().await?;
        self.load.resume();
        Ok((customers.lost(), customers.duplicated()) == (0, 0))
    }
}
