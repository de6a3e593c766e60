//! MySQL alone: the very statement by which Marketing saves a batch, on one connection, as Marketing does.

use std::time::Duration;

use anyhow::Result;
use contracts::CustomerRegistered;
use rand::RngExt;
use sqlx::{Connection, MySql, MySqlConnection, QueryBuilder};
use tokio::time::Instant;

use super::super::fake_customer::{FakeCustomer, USUAL_NAME};

const INSERT: &str = include_str!("../../../../marketing/src/store/insert.sql");
const ON_DUPLICATE: &str = include_str!("../../../../marketing/src/store/keep_the_higher_version.sql");

/// Measurement Marketing takes at most at once.
const BATCH: u32 = 256;

/// The rows that go to one segment of Marketing's search indexes.
const SEGMENT: u32 = 65_536;

/// Rows a second, in commits of 256.
pub(super) async fn batches(url: String, time: Duration) -> Result<f64> {
    let mut connection = MySqlConnection::connect(&url).await?;
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < time {
        save(&mut connection, BATCH, rows / SEGMENT).await?;
        rows += BATCH;
    }
    Ok(f64::from(rows) / began.elapsed().as_secs_f64())
}

/// One batch of people, one commit.
pub(super) async fn save(connection: &mut MySqlConnection, rows: u32, segment: u32) -> Result<()> {
    let first: u64 = rand::rng().random();
    let people = (0..rows).map(|n| FakeCustomer::new(first.wrapping_add(n.into()), USUAL_NAME).event());
    let mut insert = QueryBuilder::<MySql>::new(INSERT);
    insert.push_values(people, |mut row, person| {
        let CustomerRegistered { customer_id, name, email, marketing_consent, registered_at } = person;
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
    // The client keeps it prepared, unlike one that comes once: a statement's close goes unanswered, and
    // what is sent after it waits until TCP has acknowledged that, which on Linux takes 40 ms.
    insert.build().execute(connection).await?;
    Ok(())
}
