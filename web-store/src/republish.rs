//! Sending events again: for customers whose message was lost on the way, such as in a purged queue.

mod selection;
mod versions;

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;
use uuid::Uuid;

pub use selection::Arguments;
use selection::Selection;
use versions::{insert_events, of, within};

/// For one step. The customers of a period are looked for among all.
const DEADLINE: Duration = Duration::from_mins(1);

/// Customers, or events of a period, that are read and written at once.
const PAGE: usize = 1000;

/// What became of the chosen customers.
#[derive(Debug, Default)]
struct Tally {
    written: u64,
    waiting: u64,
    unknown: u64,
}

/// Writes the chosen events to the outbox, all of a customer's or those of a period, each under its original
/// message id, and says how many. The relay of a running Web Store finds them there within a second.
///
/// # Errors
/// The choice is malformed: nothing was written. Or the database is away: what was written until then is
/// said, and doing all of it again does no harm. Or some ids are unknown: they are listed, and the events
/// of all others were written.
pub async fn run(arguments: Arguments, database: &PgConnectOptions) -> anyhow::Result<()> {
    let selection = arguments.selection()?;
    let mut tally = Tally::default();
    let outcome = write(&selection, database, &mut tally).await;
    let Tally { written, waiting, unknown } = tally;
    println!(
        "events: {written} written to the outbox, {waiting} waiting there already; unknown ids: {unknown}"
    );
    outcome?;
    ensure!(unknown == 0, "the ids listed above are no customer's");
    Ok(())
}

async fn write(selection: &Selection, database: &PgConnectOptions, tally: &mut Tally) -> anyhow::Result<()> {
    let mut connection = in_time(PgConnection::connect_with(database)).await?;
    match selection {
        Selection::Customers(ids) => {
            for ids in ids.chunks(PAGE) {
                let page = in_time(of(&mut connection, ids)).await?;
                for id in ids {
                    if page.binary_search_by_key(id, |found| found.customer_id).is_err() {
                        eprintln!("unknown: {id}");
                        tally.unknown += 1;
                    }
                }
                tally.count(page.len(), in_time(insert_events(&mut connection, page)).await?);
            }
        }
        Selection::Period { since, until } => {
            let mut after = (Uuid::nil(), 0);
            loop {
                let page = in_time(within(&mut connection, *since, *until, after, PAGE)).await?;
                let Some(last) = page.last() else { break };
                after = (last.customer_id, last.version);
                tally.count(page.len(), in_time(insert_events(&mut connection, page)).await?);
            }
        }
    }
    Ok(())
}

impl Tally {
    fn count(&mut self, events: usize, written: u64) {
        self.written += written;
        self.waiting += events as u64 - written;
    }
}

async fn in_time<T>(step: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(DEADLINE, step).await.context("the Web Store's database did not answer in time")?;
    answer.context("the Web Store's database")
}
