//! Waits until a whole system, one customer, or one queue has reached a state.

use std::time::Duration;

use anyhow::{Context, ensure};
use contracts::topology::{QUEUES, Queue};
use sqlx::PgPool;
use system_tests::{TestEnvironment, customers::email};
use tokio::time::{Instant, sleep};

use crate::system::System;

/// Long enough for the largest backlog of a memory run.
const QUIESCENCE_TIMEOUT: Duration = Duration::from_mins(5);

/// A customer whose row has not arrived after this time is lost. All faults have ended before.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of places that have one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CustomerState {
    /// The number of the customer's rows in the Web Store, 0 or 1.
    pub(crate) stored: i64,
    /// The number of all messages in the outbox.
    outbox: i64,
    /// The number of the customer's rows in Marketing.
    pub(crate) rows: i64,
}

/// Waits until the outbox and the queues of an environment have been empty for a second.
///
/// The broker's numbers are up to one second old.
pub(crate) async fn wait_until_quiescent(environment: &TestEnvironment) -> anyhow::Result<()> {
    let web_store_database = environment.web_store_database();
    let give_up = Instant::now() + QUIESCENCE_TIMEOUT;
    let mut empty_since = None;
    loop {
        let pending = pending_messages(environment, &web_store_database).await;
        if pending == Some(0) {
            let since = *empty_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= Duration::from_secs(1) {
                return Ok(());
            }
        } else {
            empty_since = None;
        }
        let pending = pending.map_or("an unknown number of".into(), |pending| pending.to_string());
        ensure!(Instant::now() < give_up, "{pending} messages are pending after {QUIESCENCE_TIMEOUT:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the number of messages in the outbox and in the queues, or `None` if a server is unavailable.
pub(crate) async fn pending_messages(
    environment: &TestEnvironment,
    web_store_database: &PgPool,
) -> Option<u64> {
    let select = sqlx::query_scalar("SELECT count(*) FROM outbox");
    let outbox: i64 = select.fetch_one(web_store_database).await.ok()?;
    let queues = environment.queues().await.ok()?;
    let depths = QUEUES.iter().map(|queue| Some(queues.get(queue.name)?.messages));
    Some(u64::try_from(outbox).ok()? + depths.sum::<Option<u64>>()?)
}

impl System {
    /// Waits until the outbox and the queues have been empty for a second.
    pub(crate) async fn wait_until_quiescent(&self) -> anyhow::Result<()> {
        wait_until_quiescent(&self.environment).await
    }

    /// Waits until a queue holds at least `messages` messages.
    pub(crate) async fn wait_for_depth(&self, queue: &Queue, messages: u64) -> anyhow::Result<()> {
        let give_up = Instant::now() + QUIESCENCE_TIMEOUT;
        loop {
            let queues = self.environment.queues().await?;
            let depth = queues.get(queue.name).with_context(|| format!("no queue {}", queue.name))?.messages;
            if depth >= messages {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "{} holds only {depth} messages after {QUIESCENCE_TIMEOUT:?}",
                queue.name
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a customer's row has arrived and the outbox is empty, and returns the customer's state.
    ///
    /// Returns the latest state if the row does not arrive in time.
    pub(crate) async fn wait_until_settled(&self, name: &str) -> anyhow::Result<CustomerState> {
        let give_up = Instant::now() + SETTLE_TIMEOUT;
        let mut previous = None;
        loop {
            let state = self.customer_state(name).await?;
            let settled = state.rows >= state.stored && state.outbox == 0;
            // Two equal results: a transaction that was in progress during the first query has ended.
            if (settled && previous == Some(state)) || Instant::now() > give_up {
                return Ok(state);
            }
            previous = Some(state);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn customer_state(&self, name: &str) -> anyhow::Result<CustomerState> {
        let (stored, outbox) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM customers WHERE email = $1), (SELECT count(*) FROM outbox)",
        )
        .bind(email(name))
        .fetch_one(&self.web_store_database)
        .await
        .context("cannot read the Web Store's database")?;
        let rows = sqlx::query_scalar("SELECT count(*) FROM customers WHERE email_address = ?")
            .bind(email(name))
            .fetch_one(&self.marketing_database)
            .await
            .context("cannot read Marketing's database")?;
        Ok(CustomerState { stored, outbox, rows })
    }
}
