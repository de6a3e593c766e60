//! When a system has come to rest: nothing waits, nothing moves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contracts::topology::Queue;
use tokio::time::{Instant, sleep};

use super::fault::QUEUES;
use super::system::System;

/// How long that may take: a backlog has to drain.
const AT_REST: Duration = Duration::from_mins(5);

impl System {
    /// Waits until nothing moves any more: the outbox and the queues are empty, and no row has come for a
    /// second.
    pub(crate) async fn at_rest(&self) -> Result<()> {
        let give_up = Instant::now() + AT_REST;
        let (mut quiet_since, mut last) = (Instant::now(), None);
        while quiet_since.elapsed() < Duration::from_secs(1) || last != Some(Some(0)) {
            ensure!(Instant::now() < give_up, "not at rest after {AT_REST:?}: {last:?} messages wait");
            let waiting = self.waiting().await;
            if waiting != Some(0) || last != Some(waiting) {
                quiet_since = Instant::now();
            }
            last = Some(waiting);
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// How many messages are in the outbox and in the queues; `None` while that cannot be told.
    async fn waiting(&self) -> Option<u64> {
        let outbox: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.customers).await.ok()?;
        let queues = self.site.management().queues().await.ok()?;
        let depth = QUEUES.iter().map(|queue| Some(queues.get(queue.name)?.messages));
        Some(u64::try_from(outbox).ok()? + depth.sum::<Option<u64>>()?)
    }

    /// Waits until a queue holds so many messages.
    pub(crate) async fn fills(&self, queue: &Queue, messages: u64) -> Result<()> {
        let give_up = Instant::now() + AT_REST;
        let management = self.site.management();
        loop {
            let queues = management.queues().await?;
            let held = queues.get(queue.name).context(queue.name)?.messages;
            if held >= messages {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "{} holds {held} messages after {AT_REST:?}", queue.name);
            sleep(Duration::from_millis(50)).await;
        }
    }
}
