//! MySQL alone: Marketing's own statement for a batch, on one connection, as Marketing executes it.

use std::time::Duration;

use contracts::CustomerRegistered;
use rand::RngExt;
use sqlx::{Connection, MySql, MySqlConnection, QueryBuilder};
use tokio::time::Instant;

use crate::fake_customer::{FakeCustomer, USUAL_NAME};

const INSERT: &str = include_str!("../../../../marketing/src/store/insert.sql");
const ON_DUPLICATE: &str = include_str!("../../../../marketing/src/store/keep_the_higher_version.sql");

/// Marketing's largest batch.
const BATCH: u32 = 256;

/// The rows in one segment of Marketing's search indexes.
const SEGMENT: u32 = 65_536;

/// Returns the rows inserted per second, 256 per commit.
pub(super) async fn insert_rate(url: String, duration: Duration) -> anyhow::Result<f64> {
    let mut connection = MySqlConnection::connect(&url).await?;
    let began = Instant::now();
    let mut rows = 0;
    while began.elapsed() < duration {
        insert(&mut connection, BATCH, rows / SEGMENT).await?;
        rows += BATCH;
    }
    Ok(f64::from(rows) / began.elapsed().as_secs_f64())
}

/// Inserts random customers in one statement and one commit.
pub(super) async fn insert(connection: &mut MySqlConnection, rows: u32, segment: u32) -> anyhow::Result<()> {
    let first: u64 = rand::rng().random();
    let events = (0..rows).map(|n| FakeCustomer::new(first.wrapping_add(n.into()), USUAL_NAME).event());
    let mut insert = QueryBuilder::<MySql>::new(INSERT);
    insert.push_values(events, |mut row, event| {
        let CustomerRegistered { customer_id, name, email, marketing_consent, registered_at } = event;
        row.push_bind(customer_id.to_string())
            .push_bind(name)
            .push_bind(email)
            .push_bind(marketing_consent)
            .push_bind("web-store")
            .push_bind(registered_at.naive_utc())
            .push_bind(segment)
            .push_bind(1_u32)
            .push_bind(None::<chrono::NaiveDateTime>);
    });
    insert.push(ON_DUPLICATE);
    // The client keeps this statement prepared. The server does not reply when a statement is closed. The next
    // packet would then wait for TCP's delayed acknowledgment, which takes 40 ms on Linux.
    insert.build().execute(connection).await?;
    Ok(())
}
