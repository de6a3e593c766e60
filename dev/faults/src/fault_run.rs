//! Everything that a fault may touch, and how long it takes to recover from one.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use chrono::NaiveDateTime;
use tokio::time::{Instant, sleep};

use super::fault::Fault;
use super::load::Load;
use super::servers::LockedServers;
use super::system::System;

/// Whatever has not recovered by then does not recover by itself.
const RECOVERED: Duration = Duration::from_mins(2);

/// A system under load.
pub(super) struct FaultRun {
    pub(super) system: System,
    pub(super) servers: LockedServers,
    pub(super) load: Load,
    /// The bad messages that were sent, and whether the broker has taken each.
    pub(super) bad_messages: Mutex<Vec<(String, bool)>>,
}

impl FaultRun {
    /// One fault or several at once; the time from their end to the next row in Marketing.
    pub(super) async fn go_through(&self, faults: &[Fault]) -> Result<Duration> {
        let inflicting = faults.iter().map(|fault| Box::pin(self.inject(fault)));
        futures_util::future::try_join_all(inflicting).await?;
        let healed = Instant::now();
        let mut before = None;
        while healed.elapsed() < RECOVERED {
            match (self.newest_row().await, before) {
                (Some(now), Some(before)) if now > before => return Ok(healed.elapsed()),
                (Some(now), None) => before = Some(now),
                _ => {}
            }
            sleep(Duration::from_millis(10)).await;
        }
        let log = self.system.site.log();
        let end = log.char_indices().rev().nth(8000).map_or(0, |(at, _)| at);
        anyhow::bail!("no row arrived within {RECOVERED:?}; the services' logs end with\n{}", &log[end..])
    }

    /// When the newest row was written; `None` while the server does not answer, or has none.
    async fn newest_row(&self) -> Option<NaiveDateTime> {
        let newest = "SELECT received_at FROM customers ORDER BY received_at DESC LIMIT 1";
        sqlx::query_scalar(newest).fetch_optional(&self.system.rows).await.ok()?
    }
}
