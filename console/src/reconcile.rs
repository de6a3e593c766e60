//! `console reconcile`: every customer of the Web Store gets exactly one state.

mod comparison;
mod marketing;
mod report;
mod search;
mod sources;
mod unaccounted;
mod web_store;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use tokio::time::timeout;
use uuid::Uuid;

pub use report::{DeadLetterCounts, Report};
pub use sources::Sources;

use marketing::Marketing;
use unaccounted::Unaccounted;
use web_store::WebStore;

/// The time limit of one query. A query reads one page.
const QUERY_TIMEOUT: Duration = Duration::from_mins(1);

/// Compares the customers of the Web Store with the rows of Marketing
///
/// Each customer gets exactly one state: arrived, in the outbox, on the way, dead-lettered, missing, or
/// duplicated. The command only reads, and the system may run meanwhile. The exit status is 0 if no customer is
/// missing or duplicated, 1 if one is, and 2 if a server cannot be read. The Web Store can send the events of
/// missing customers again: `console reconcile --missing-ids | web-store republish`.
///
/// Messages that a service holds unacknowledged are invisible until it releases them. Increase --patience
/// while a service waits for a server, or while an alarm of the broker blocks it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Prints JSON
    #[arg(long, conflicts_with = "missing_ids")]
    json: bool,
    /// Prints only the ids of missing customers, one per line; the table goes to standard error
    #[arg(long)]
    missing_ids: bool,
}

/// Prints the report. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = match reconcile(&arguments.sources).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("console: cannot reconcile: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let output = if arguments.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else if arguments.missing_ids {
        eprint!("{report}");
        let ids: Vec<_> = report.missing_ids.iter().map(Uuid::to_string).collect();
        ids.join("\n") + if ids.is_empty() { "" } else { "\n" }
    } else {
        report.to_string()
    };
    service_kit::write_stdout(&output)?;
    Ok(if report.is_consistent() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the state of every customer of the Web Store.
///
/// # Errors
/// Returns an error if a database or a broker cannot be read.
pub async fn reconcile(sources: &Sources) -> anyhow::Result<Report> {
    let mut web_store = WebStore::connect(&sources.web_store_database_url).await?;
    let mut marketing = Marketing::connect(&sources.marketing_database_url).await?;
    let mut report = Report::default();
    let mut unaccounted = Unaccounted::default();
    comparison::compare(&mut web_store, &mut marketing, sources.page, &mut report, &mut unaccounted).await?;
    report.dead_letters = search::locate(sources, &mut web_store, &mut marketing, &mut unaccounted).await?;
    unaccounted.add_to(&mut report);
    Ok(report)
}

/// Awaits a query, and names its database in the error.
async fn with_deadline<T>(
    database: &'static str,
    query: impl Future<Output = sqlx::Result<T>>,
) -> anyhow::Result<T> {
    timeout(QUERY_TIMEOUT, query)
        .await
        .with_context(|| format!("{database} did not respond in time"))?
        .context(database)
}
