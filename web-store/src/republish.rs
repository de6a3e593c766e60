//! `web-store republish`: publishes events again, for customers whose messages were lost, for example in a
//! purged queue.

mod arguments;
mod versions;

use std::time::Duration;

use anyhow::ensure;
use contracts::topology::WEB_STORE_EVENTS;
use service_kit::write_stdout;
use sqlx::PgConnection;
use telemetry::create_span;
use uuid::Uuid;

use crate::{
    outbox::{self, OutboxEvent},
    postgres::{DatabaseUrl, PostgresError, connect, with_deadline},
    version::{CustomerVersion, StoredVersion},
};

pub(crate) use arguments::Arguments;
use arguments::Selection;
use versions::{by_customer_ids, by_period};

/// The limit for one query. A query by period scans all customers.
const QUERY_TIMEOUT: Duration = Duration::from_mins(1);

/// The number of customers, or of events of a period, in one query.
const PAGE: usize = 1000;

/// The result of a run.
#[derive(Debug, Default)]
struct Summary {
    written: u64,
    /// Events that were in the outbox already.
    waiting: u64,
    unknown: u64,
}

/// Writes the selected events to the outbox under their original message ids, and prints how many. The relay
/// of a running Web Store finds them within a second.
///
/// # Errors
/// Returns an error if
/// - the selection is malformed: nothing was written;
/// - the database is unavailable: the printed number was written, and a second run does no harm;
/// - ids are unknown: they are listed, and the events of all other customers were written.
pub(crate) async fn run(arguments: Arguments, database: &DatabaseUrl) -> anyhow::Result<()> {
    let selection = arguments.selection()?;
    let mut summary = Summary::default();
    let outcome = republish(&selection, database, &mut summary).await;
    let Summary { written, waiting, unknown } = summary;
    write_stdout(&format!(
        "events: {written} written to the outbox, {waiting} waiting there already; unknown ids: {unknown}\n"
    ))?;
    outcome?;
    ensure!(unknown == 0, "no customers have the ids listed above");
    Ok(())
}

async fn republish(
    selection: &Selection,
    database: &DatabaseUrl,
    summary: &mut Summary,
) -> Result<(), PostgresError> {
    let mut connection = connect(database, QUERY_TIMEOUT, "").await?;
    match selection {
        Selection::Customers(ids) => {
            for ids in ids.chunks(PAGE) {
                let page = with_deadline(QUERY_TIMEOUT, by_customer_ids(&mut connection, ids)).await?;
                for id in ids {
                    if page.binary_search_by_key(id, |version| version.customer_id).is_err() {
                        eprintln!("unknown: {id}");
                        summary.unknown += 1;
                    }
                }
                summary.add(page.len(), insert_events(&mut connection, page).await?);
            }
        }
        Selection::Period { since, until } => {
            let mut after = (Uuid::nil(), 0);
            loop {
                let page = by_period(&mut connection, *since, *until, after, PAGE);
                let page = with_deadline(QUERY_TIMEOUT, page).await?;
                let Some(last) = page.last() else { break };
                after = (last.customer_id, last.version);
                summary.add(page.len(), insert_events(&mut connection, page).await?);
            }
        }
    }
    Ok(())
}

/// Inserts the events of a page in one commit. Returns how many were not in the outbox already.
async fn insert_events(
    connection: &mut PgConnection,
    page: Vec<StoredVersion>,
) -> Result<u64, PostgresError> {
    let event = |stored: StoredVersion| {
        let message_id = stored.message_id;
        CustomerVersion::from(stored).event(message_id, create_span(None, WEB_STORE_EVENTS))
    };
    let events: Vec<OutboxEvent> = page.into_iter().map(event).collect();
    with_deadline(QUERY_TIMEOUT, outbox::insert(connection, &events, true)).await
}

impl Summary {
    fn add(&mut self, events: usize, written: u64) {
        self.written += written;
        self.waiting += events as u64 - written;
    }
}
