//! Fails over each database to its standby under load, and measures the loss before and after the repair.

mod report;
mod step;

use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use reconciliation::reconcile;
use service_kit::write_stdout;
use sqlx::{MySqlPool, PgPool};
use stack::{connection_urls::ConnectionUrls, mysql::Mysql, servers::Servers, service::Program};
use system_tests::{TestEnvironment, eventually, reconciliation_sources};
use tokio::time::{Instant, timeout};

use self::{
    report::{Losses, Report, table},
    step::{Route, Standby, Step},
};
use crate::{database_state::Database, edits::Edits, load::Load, system::System, tables::Tables};

/// The time for each phase, and for the repair.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Kills the primary of each database under load, and promotes its standby
///
/// Each database fails over twice: with synchronous replication, and with an asynchronous standby that receives nothing
/// before the kill. The services run on without a restart. They find the new primary by a URL with two hosts, or by an
/// address that moves. Afterwards, `console reconcile --watch` repairs the losses. The exit status is 0 only if
/// synchronous replication has lost nothing, and if the console has repaired everything that Marketing or the Web Store
/// still has
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ReplicaArguments {
    /// Registrations in each phase: before the standby stops to receive, until the kill, and after the promotion
    #[arg(long, default_value_t = 500)]
    registrations: usize,
    /// Registrations per second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// Makes all failovers, and prints their results. Returns whether all of them are right.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the system does not recover in time.
pub(crate) async fn run(arguments: ReplicaArguments, log: fn(&str)) -> anyhow::Result<bool> {
    let mut reports = Vec::with_capacity(Step::ALL.len());
    for step in Step::ALL {
        log(&step.to_string());
        let report = Box::pin(fail_over(step, arguments, log)).await.with_context(|| step.to_string())?;
        reports.push(report);
    }
    write_stdout(&table(&reports))?;
    Ok(reports.iter().all(Report::is_right))
}

async fn fail_over(step: Step, arguments: ReplicaArguments, log: fn(&str)) -> anyhow::Result<Report> {
    let ReplicaArguments { registrations, rate } = arguments;
    let directory = tempfile::tempdir().context("cannot create a directory for the servers")?;
    Mysql::enable_replication(&directory.path().join("mysql"), 1)?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let standby = Standby::start(step, &servers, &directory.path().join("standby")).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let settings = step.settings(environment.connection_urls(), standby.port());
    let mut system = System::start_in(environment, &settings).await?;
    let load = Load::start(system.url(Program::WebStore), rate)?;
    let edits = Edits::start(&system.client, &system.url(Program::WebStore)).await?;
    wait_for_more(&load, registrations).await?;
    if !step.is_synchronous {
        standby.stop_receiving().await?;
        wait_for_more(&load, registrations).await?;
    }

    let killed = Instant::now();
    match step.database {
        Database::Postgres => servers.postgres.process.kill().await?,
        Database::Mysql => servers.mysql.process.kill().await?,
    }
    if !step.is_synchronous {
        // From here on, only every second customer changes, so some lost changes stay lost until the repair.
        edits.forget_confirmed();
    }
    standby.promote().await?;
    if step.route == Route::MovedAddress {
        system.proxy(step.link()).redirect(standby.port());
    }
    let urls = step.urls_with_port(system.environment.connection_urls(), standby.port());
    system.connect_to(&urls)?;
    system.wait_for_next_row(step.database, &load).await?;
    let recovered_in = killed.elapsed().as_secs_f64();
    log(&format!("the promoted server stores rows {recovered_in:.1} s after the kill"));

    wait_for_more(&load, registrations).await?;
    let changes = edits.stop().await;
    load.pause().await;
    system.wait_until_quiescent().await?;
    let losses = |customers: &Tables| Losses {
        customers: lost(step.database, customers, &load),
        changes: customers.different(),
        missing: customers.missing(),
    };
    let before_repair = losses(&system.read_tables(Utc::now()).await?);
    let reported = Box::pin(reconcile(&reconciliation_sources(&urls)?)).await?;

    let started = Instant::now();
    let (name, url) = step.console_setting(&system, standby.port());
    let _console = system.environment.start_console(&[(name, url.as_str())])?;
    let customers = eventually(TIMEOUT, "the applications agree on all customers", async || {
        let customers = system.read_tables(Utc::now()).await.ok()?;
        (customers.missing() + customers.different() == 0).then_some(customers)
    })
    .await?;
    Ok(Report {
        step,
        confirmed: load.confirmed().len(),
        before_repair,
        after_repair: losses(&customers),
        unknown: customers.unknown(),
        reported_unknown: reported.unknown_rows,
        doubled: customers.duplicated,
        outdated: customers.outdated(&changes),
        recovered_in,
        repaired_in: started.elapsed().as_secs_f64(),
    })
}

/// Waits until the Web Store has confirmed more registrations.
async fn wait_for_more(load: &Load, registrations: usize) -> anyhow::Result<()> {
    let target = load.confirmed().len() + registrations;
    let waited = timeout(TIMEOUT, load.wait_confirmed(target)).await;
    waited.with_context(|| format!("no {registrations} registrations within {TIMEOUT:?}"))
}

/// Returns the number of confirmed registrations that the database does not have.
fn lost(database: Database, customers: &Tables, load: &Load) -> usize {
    let stored = match database {
        Database::Postgres => &customers.web_store,
        Database::Mysql => &customers.marketing,
    };
    load.confirmed().iter().filter(|id| !stored.contains_key(*id)).count()
}

impl System {
    /// Reads the databases of other servers from here on.
    fn connect_to(&mut self, urls: &ConnectionUrls) -> anyhow::Result<()> {
        self.web_store_database = PgPool::connect_lazy(&urls.web_store_database_url("web_store_owner"))?;
        self.marketing_database = MySqlPool::connect_lazy(&urls.marketing_database_url("marketing_owner"))?;
        Ok(())
    }

    /// Waits until a service has stored a row in a database that has just been promoted.
    async fn wait_for_next_row(&self, database: Database, load: &Load) -> anyhow::Result<()> {
        if database == Database::Postgres {
            return wait_for_more(load, 1).await;
        }
        let count = async || -> sqlx::Result<i64> {
            let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers");
            count.fetch_one(&self.marketing_database).await
        };
        let before = count().await?;
        eventually(TIMEOUT, "Marketing stores a row", async || (count().await.ok()? > before).then_some(()))
            .await
    }
}
