//! Waits until all registered customers are rows in Marketing's table, each exactly once.

use std::time::Duration;

use anyhow::ensure;
use chrono::NaiveDateTime;
use sqlx::{AssertSqlSafe, MySqlPool};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// If no row arrives within this time, the rest will not arrive either.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// The rows that arrive after a moment. Earlier rows are not counted, and do not slow the count.
pub(crate) struct Arrivals {
    database: MySqlPool,
    since: NaiveDateTime,
}

impl Arrivals {
    /// Starts to count rows now, by the clock of the database server.
    pub(crate) async fn from_now(database: &MySqlPool) -> anyhow::Result<Self> {
        let since = sqlx::query_scalar("SELECT UTC_TIMESTAMP(6)").fetch_one(database).await?;
        Ok(Self { database: database.clone(), since })
    }

    /// Waits until `count` rows have arrived, and checks that there are no more.
    ///
    /// It polls for the customers in `last`, which costs the server very little. When these have arrived, it
    /// counts all rows. It polls about 200 times, so the end is known to half a percent.
    pub(crate) async fn wait_for(&self, count: u32, last: &[Uuid]) -> anyhow::Result<()> {
        let ids: Vec<_> = last.iter().map(|id| format!("'{id}'")).collect();
        let poll = format!(
            "SELECT COUNT(*), (SELECT MAX(received_at) FROM customers)
            FROM customers WHERE customer_id IN ({})",
            ids.join(", ")
        );
        let began = Instant::now();
        let mut last_progress = began;
        let mut newest_row = None;
        loop {
            let (arrived, newest): (i64, Option<NaiveDateTime>) =
                sqlx::query_as(AssertSqlSafe(poll.as_str())).fetch_one(&self.database).await?;
            if arrived == i64::try_from(last.len())? && self.count().await? >= i64::from(count) {
                break;
            }
            if newest != newest_row {
                last_progress = Instant::now();
                newest_row = newest;
            }
            ensure!(
                last_progress.elapsed() < STALLED_AFTER,
                "no row arrived for {STALLED_AFTER:?}, and rows are missing"
            );
            sleep((began.elapsed() / 200).clamp(Duration::from_millis(1), Duration::from_millis(20))).await;
        }
        let rows = self.count().await?;
        ensure!(
            rows == i64::from(count),
            "the Web Store registered {count} customers, but Marketing received {rows} rows"
        );
        Ok(())
    }

    async fn count(&self) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE received_at >= ?");
        Ok(count.bind(self.since).fetch_one(&self.database).await?)
    }
}
