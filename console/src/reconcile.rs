//! `stack reconcile`: the books. Every customer of the Web Store is in exactly one state.

mod comparison;
mod deadline;
mod marketing;
mod report;
mod search;
mod sources;
mod unaccounted;
mod web_store;

use std::process::ExitCode;

use anyhow::Result;

use marketing::Marketing;
pub use report::{DeadLetters, Report};
pub use sources::Sources;
use unaccounted::Unaccounted;
use web_store::WebStore;

/// Accounts for every customer of the Web Store: arrived at Marketing's, in the outbox, on the way,
/// dead-lettered, missing or doubled.
///
/// It reads only, and may run while the system does. Where nobody is missing or doubled the exit status
/// is 0, else 1; it is 2 if something could not be read. What is missing can be sent again:
/// `stack reconcile --missing-ids | web-store republish`.
///
/// Somebody whom a service holds in its hands is not to be seen until it lets go. While a service waits
/// for a server, or a broker's alarm blocks it, give it more patience.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    books: Sources,
    /// Print JSON, for programs.
    #[arg(long, conflicts_with = "missing_ids")]
    json: bool,
    /// Print nothing but the ids of those who are missing, one a line; the table goes to standard error.
    #[arg(long)]
    missing_ids: bool,
}

/// Prints the books; the exit status tells of them.
///
/// # Errors
/// If the report cannot be written as JSON, which is never.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = match reconcile(&arguments.books).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("stack: the books cannot be read: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if arguments.missing_ids {
        eprint!("{report}");
        report.missing_ids.iter().for_each(|id| println!("{id}"));
    } else {
        print!("{report}");
    }
    Ok(if report.is_in_order() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the books.
///
/// # Errors
/// If a database or a broker cannot be read.
pub async fn reconcile(books: &Sources) -> Result<Report> {
    let mut web_store = WebStore::connect(&books.web_store_database_url).await?;
    let mut marketing = Marketing::connect(&books.marketing_database_url).await?;
    let mut report = Report::default();
    let mut candidates = Unaccounted::default();
    comparison::compare(&mut web_store, &mut marketing, books.page, &mut report, &mut candidates).await?;
    report.dead_letters = search::search(books, &mut web_store, &mut marketing, &mut candidates).await?;
    candidates.tell(&mut report);
    Ok(report)
}
