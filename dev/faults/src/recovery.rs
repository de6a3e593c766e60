//! Waits for the recovery of a whole system under load.

use std::time::Duration;

use anyhow::bail;
use chrono::NaiveDateTime;
use tokio::time::{Instant, sleep};

use crate::system::System;

/// A system that has not recovered after this time does not recover by itself.
pub(crate) const RECOVERY_TIMEOUT: Duration = Duration::from_mins(2);

/// The number of characters of the services' log in an error message.
const LOG_EXCERPT: usize = 8000;

impl System {
    /// Waits until the row of a customer has arrived who registered after `time`, and until `also` returns true.
    ///
    /// The next row would prove nothing: messages behind a deleted exchange or binding still arrive.
    pub(crate) async fn wait_for_registration_after(
        &self,
        time: NaiveDateTime,
        also: impl AsyncFn() -> bool,
    ) -> anyhow::Result<()> {
        let give_up = Instant::now() + RECOVERY_TIMEOUT;
        while Instant::now() < give_up {
            if self.newest_registration().await.is_some_and(|registered| registered > time) && also().await {
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        let log = self.environment.log();
        let start = log.char_indices().rev().nth(LOG_EXCERPT).map_or(0, |(index, _)| index);
        bail!(
            "no new customer arrived within {RECOVERY_TIMEOUT:?}; the end of the services' log:\n{}",
            &log[start..]
        )
    }

    /// Returns the latest time of registration among the newest rows, or `None` if the server is unavailable or has no
    /// row. The newest row alone may be that of an event that was retried.
    pub(crate) async fn newest_registration(&self) -> Option<NaiveDateTime> {
        let select = "SELECT MAX(customer_since)
            FROM (SELECT customer_since FROM customers ORDER BY received_at DESC LIMIT 20) AS newest";
        sqlx::query_scalar(select).fetch_one(&self.marketing_database).await.ok()?
    }
}
