//! When everybody who was registered is to be seen in Marketing's table, and nobody twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::NaiveDateTime;
use sqlx::{AssertSqlSafe, MySqlPool};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// If no row comes for so long, none will.
const STUCK: Duration = Duration::from_mins(1);

/// The rows that come from a moment on. Measurement was in the table before does not count, nor slow the count.
pub(super) struct Arrivals {
    rows: MySqlPool,
    since: NaiveDateTime,
}

impl Arrivals {
    pub(super) async fn from_now(rows: &MySqlPool) -> Result<Self> {
        let since = sqlx::query_scalar("SELECT UTC_TIMESTAMP(6)").fetch_one(rows).await?;
        Ok(Self { rows: rows.clone(), since })
    }

    /// Waits until so many have come. The last of them are looked for first, which costs the server next to
    /// nothing; all are counted when those are there. Asking takes place about 200 times, so the moment is
    /// known to half a percent.
    pub(super) async fn wait_for(&self, count: u32, last: &[Uuid]) -> Result<()> {
        let ids: Vec<_> = last.iter().map(|id| format!("'{id}'")).collect();
        let look = format!(
            "SELECT COUNT(*), (SELECT MAX(received_at) FROM customers)
            FROM customers WHERE customer_id IN ({})",
            ids.join(", ")
        );
        let (began, mut progress, mut newest) = (Instant::now(), Instant::now(), None);
        loop {
            let (seen, now): (i64, Option<NaiveDateTime>) =
                sqlx::query_as(AssertSqlSafe(look.as_str())).fetch_one(&self.rows).await?;
            if seen == i64::try_from(last.len())? && self.count().await? >= i64::from(count) {
                break;
            }
            if now != newest {
                (progress, newest) = (Instant::now(), now);
            }
            ensure!(progress.elapsed() < STUCK, "no row came for {STUCK:?}, and not all are there");
            sleep((began.elapsed() / 200).clamp(Duration::from_millis(1), Duration::from_millis(20))).await;
        }
        let rows = self.count().await?;
        ensure!(rows == i64::from(count), "{count} were registered, but Marketing got {rows} rows");
        Ok(())
    }

    async fn count(&self) -> Result<i64> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE received_at >= ?");
        Ok(count.bind(self.since).fetch_one(&self.rows).await?)
    }
}
