//! Restarts and upgrades the instances of each service one after another, under load.

mod balancer;
mod fleet;
mod visitors;

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    time::Duration,
};

use service_kit::write_stdout;
use stack::servers::Servers;
use tokio::time::sleep;

use self::{
    fleet::{Fleet, Release},
    visitors::{Counts, Visitors},
};
use crate::{customers::Customers, quiescence::wait_until_quiescent};

/// Time with a load and without a restart, before and after the restarts of a phase.
const QUIET: Duration = Duration::from_secs(2);

/// Failed requests of a phase whose reasons are logged.
const LOGGED_FAILURES: usize = 10;

/// Restarts and upgrades all services one instance after another, under load
///
/// Three Web Stores, two transformers, and three Marketings run behind a load balancer, which sends each request once, to
/// an instance that is ready. Each phase replaces every instance: SIGTERM, exit, start, ready. With `--old-bin-dir`, the
/// system starts with the release before, and the phases are an upgrade, a restart, and the way back. The exit status
/// is 0 only if no request fails and no customer is lost or duplicated.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RollingArguments {
    /// Directory with the programs of the release before
    #[arg(long, value_name = "DIR")]
    old_bin_dir: Option<PathBuf>,
    /// Requests per second: registrations, forms, and pages of Marketing's list
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// `SHUTDOWN_DELAY_SECONDS` of each service
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    shutdown_delay: u64,
}

/// The result of one phase. Its line is for scripts, so the names of its fields do not change.
struct PhaseReport {
    phase: &'static str,
    counts: Counts,
    customers: Customers,
    dead_lettered: u64,
}

/// Runs all phases, and prints a line for each. Returns whether all are clean.
///
/// # Errors
/// Returns an error if a server or an instance does not start, or if an instance does not end in time.
pub(crate) async fn run(
    servers: &Servers,
    arguments: &RollingArguments,
    log: fn(&str),
) -> anyhow::Result<bool> {
    let current = Release::current();
    let old = arguments.old_bin_dir.clone().map(Release::before);
    let phases = match &old {
        Some(old) => vec![("upgrade", &current), ("restart", &current), ("back", old)],
        None => vec![("restart", &current)],
    };
    let mut fleet = Fleet::start(servers, old.as_ref().unwrap_or(&current), arguments.shutdown_delay).await?;
    let visitors = Visitors::start(&fleet, arguments.rate).await?;
    let mut is_clean = true;
    for (phase, release) in phases {
        log(&format!("phase {phase}"));
        sleep(QUIET).await;
        fleet.replace_all(release, log).await?;
        sleep(QUIET).await;
        visitors.pause().await;
        for reason in visitors.take_failures().iter().take(LOGGED_FAILURES) {
            log(reason);
        }
        let report = PhaseReport::new(phase, &fleet, &visitors).await?;
        write_stdout(&format!("{report}\n"))?;
        is_clean &= report.is_clean();
        visitors.resume();
    }
    Ok(is_clean)
}

impl PhaseReport {
    /// Waits until no message is pending, and compares the customers of both applications. No request is running.
    async fn new(phase: &'static str, fleet: &Fleet, visitors: &Visitors) -> anyhow::Result<Self> {
        let environment = &fleet.environment;
        wait_until_quiescent(environment).await?;
        let queues = environment.management().queues().await?;
        let dead_letters = queues.values().filter(|queue| queue.name.ends_with(".dead-letters"));
        let (web_store, marketing) = (environment.web_store_database(), environment.marketing_database());
        Ok(Self {
            phase,
            counts: visitors.take_counts(),
            customers: Customers::read(&web_store, &marketing, visitors.confirmed()).await?,
            dead_lettered: dead_letters.map(|queue| queue.messages).sum(),
        })
    }

    fn is_clean(&self) -> bool {
        let Self { counts, customers, dead_lettered, .. } = self;
        counts.failed + counts.refused + dead_lettered == 0
            && (customers.lost(), customers.duplicated()) == (0, 0)
    }
}

impl Display for PhaseReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { phase, counts: Counts { requests, failed, refused }, customers, dead_lettered } = self;
        write!(
            f,
            "phase={phase} requests={requests} failed={failed} refused={refused} registered={} marketing={} \
             lost={} doubled={} dead_lettered={dead_lettered}",
            customers.stored.len(),
            customers.rows,
            customers.lost(),
            customers.duplicated()
        )
    }
}
