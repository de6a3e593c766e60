//! Restores both databases from backups of different ages, and the broker without its messages, under load.

mod backup;

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use chrono::Utc;
use service_kit::write_stdout;
use stack::{console::Console, servers::Servers, service::Program};
use system_tests::eventually;
use tokio::time::{Instant, sleep};

use self::backup::Backup;
use crate::{database_state::Database, edits::Edits, load::Load, system::System};

/// The time in which both applications must agree again.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Restores both databases from backups of different times, and the broker without its messages
///
/// The load goes on. Services and servers are stopped for the restore, and started again, with `console reconcile
/// --watch`. This is done twice: with the older backup of PostgreSQL, and with the older backup of MySQL. The exit
/// status is 0 only if both applications agree afterwards, and no restored version has replaced a later change.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct RestoreArguments {
    /// Seconds between the start, the first backup, the second one, the restore, and the end of the load
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Registrations per second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// The result of one restore. Its line is for scripts, so the names of its fields do not change.
struct RestoreReport {
    /// The server whose backup is older.
    older: Database,
    registered: usize,
    marketing: usize,
    /// Customers of the Web Store without a row.
    missing: usize,
    /// Customers with other details in Marketing than in the Web Store.
    different: usize,
    duplicated: usize,
    /// Customers with other details in Marketing than those that the Web Store has confirmed after the restore.
    outdated: usize,
    /// Rows of Marketing whose customers the restored Web Store does not have.
    unknown: usize,
    /// The time from the start of the services until all customers agree who were changed before.
    repaired_in: Duration,
}

/// Makes both restores, and prints a line for each. Returns whether both are clean.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the applications do not agree in time.
pub(crate) async fn run(
    servers: &Servers,
    arguments: RestoreArguments,
    log: fn(&str),
) -> anyhow::Result<bool> {
    let mut is_clean = true;
    for older in [Database::Postgres, Database::Mysql] {
        let report = Box::pin(restore(servers, older, arguments, log)).await?;
        write_stdout(&format!("{report}\n"))?;
        is_clean &= report.is_clean();
    }
    Ok(is_clean)
}

async fn restore(
    servers: &Servers,
    older: Database,
    arguments: RestoreArguments,
    log: fn(&str),
) -> anyhow::Result<RestoreReport> {
    let pause = Duration::from_secs_f64(arguments.seconds);
    let system = System::start(servers).await?;
    let console = system.environment.start_console(&[])?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    let edits = Edits::start(&system.client, &system.url(Program::WebStore)).await?;
    let urls = system.environment.connection_urls();
    sleep(pause).await;
    let first = Backup::take(older, urls).await?;
    log(&format!("{} backed up", older.name()));
    sleep(pause).await;
    let second = Backup::take(older.other(), urls).await?;
    log(&format!("{} backed up", older.other().name()));
    sleep(pause).await;

    stop(&system, console).await?;
    // Confirmations before the restore prove nothing: the restored Web Store does not have these changes.
    edits.forget_confirmed();
    for backup in [first, second] {
        backup.restore(urls).await?;
    }
    let management = system.environment.management();
    management.delete_virtual_host().await?;
    management.create_virtual_host().await?;
    log("both databases are restored, and the broker is empty");
    let (started_at, started) = (Utc::now(), Instant::now());
    for program in Program::ALL {
        system.restart(&mut *system.service(program).await, program)?;
    }
    let _console = system.environment.start_console(&[])?;
    eventually(TIMEOUT, "the applications agree on all customers of the backups", async || {
        let customers = system.read_tables(started_at).await.ok()?;
        (customers.missing() + customers.different() == 0).then_some(())
    })
    .await?;
    let repaired_in = started.elapsed();
    log(&format!("the applications agree after {:.1} s", repaired_in.as_secs_f64()));

    sleep(pause).await;
    let confirmed = edits.stop().await;
    load.pause().await;
    system.wait_until_quiescent().await?;
    eventually(TIMEOUT, "the applications agree on all customers", async || {
        let customers = system.read_tables(Utc::now()).await.ok()?;
        (customers.missing() + customers.different() == 0).then_some(())
    })
    .await?;
    let customers = system.read_tables(Utc::now()).await?;
    Ok(RestoreReport {
        older,
        registered: customers.web_store.len(),
        marketing: customers.marketing.len(),
        missing: customers.missing(),
        different: customers.different(),
        duplicated: customers.duplicated,
        outdated: customers.outdated(&confirmed),
        unknown: customers.unknown(),
        repaired_in,
    })
}

/// Kills the services and the console.
async fn stop(system: &System, mut console: Console) -> anyhow::Result<()> {
    console.process.kill().await?;
    for program in Program::ALL {
        system.service(program).await.kill().await?;
    }
    Ok(())
}

impl RestoreReport {
    fn is_clean(&self) -> bool {
        self.missing + self.different + self.duplicated + self.outdated == 0
    }
}

impl Display for RestoreReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { registered, marketing, missing, different, duplicated, outdated, unknown, .. } = self;
        write!(
            f,
            "older_backup={} registered={registered} marketing={marketing} missing={missing} \
             different={different} doubled={duplicated} outdated={outdated} unknown={unknown} repaired_in={:.1}",
            self.older.name(),
            self.repaired_in.as_secs_f64()
        )
    }
}
