//! Requests the erasure of customers, and waits until both applications have erased them.

use std::time::Duration;

use anyhow::ensure;
use chrono::{SubsecRound, Utc};
use contracts::EraseCustomer;
use messaging::{BrokerUrl, Outgoing, PublishOutcome, Session};
use readers::{marketing::Marketing, web_store::WebStore};
use reconciliation::{Flow, QueueObservation, Sources, monitor};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Whether the messages that left the outbox before the erasure have passed all queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Passed,
    /// A message of the person may still wait in a queue.
    Unproven,
}

/// The state at the end of the wait.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) passage: Passage,
    /// The queues that may still hold messages, at the end.
    pub(super) queues: Vec<QueueObservation>,
}

/// Sends one command for each customer. Waits until both applications have erased all of them, and until earlier messages
/// have passed the queues, for up to the patience of `sources`.
///
/// # Errors
/// Returns an error if a server cannot be used.
pub(super) async fn erase(
    sources: &Sources,
    customers: &[Uuid],
    web_store: &mut WebStore,
    marketing: &mut Marketing,
) -> anyhow::Result<Progress> {
    send(sources.connections.brokers.source(), customers).await?;
    let flow = watch::Sender::new(Flow::default());
    let mut observed = flow.subscribe();
    let deadline = Instant::now() + sources.patience;
    let wait = async {
        poll(deadline, async || is_erased(customers, web_store).await).await?;
        // From now on, no event with the person leaves the outbox.
        let left_outbox = Instant::now();
        poll(deadline, async || is_forgotten(customers, marketing).await).await?;
        let passed = timeout_at(deadline, observed.wait_for(|flow| flow.has_passed(left_outbox))).await;
        anyhow::Ok(if matches!(passed, Ok(Ok(_))) { Passage::Passed } else { Passage::Unproven })
    };
    let passage = tokio::select! {
        passage = Box::pin(wait) => passage?,
        never = Box::pin(monitor(sources, &flow)) => match never? {},
    };
    let mut queues = flow.borrow().queues.clone();
    queues.retain(QueueObservation::may_hold_messages);
    Ok(Progress { passage, queues })
}

/// Publishes the commands. Only the Web Store has the queue for them.
async fn send(broker: &BrokerUrl, customers: &[Uuid]) -> anyhow::Result<()> {
    if customers.is_empty() {
        return Ok(());
    }
    let requested_at = Utc::now().trunc_subsecs(6);
    let command = |customer_id: &Uuid| {
        Outgoing::first(&EraseCustomer { customer_id: *customer_id, requested_at }, "console")
    };
    let commands: Vec<_> = customers.iter().map(command).collect();
    let session = Session::open_publisher(broker, "console erasures").await?;
    let outcomes = session.publish(&commands).await?;
    session.close().await;
    ensure!(
        outcomes.iter().all(|outcome| *outcome == PublishOutcome::Confirmed),
        "no queue takes the command; check that a Web Store runs that supports erasures, and repeat the command"
    );
    Ok(())
}

/// Polls a condition until it holds or the time is over.
async fn poll(deadline: Instant, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !holds().await? && Instant::now() < deadline {
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Returns whether the Web Store has erased all of the customers.
async fn is_erased(customers: &[Uuid], web_store: &mut WebStore) -> anyhow::Result<bool> {
    Ok(web_store.erased(customers).await?.len() == customers.len() && web_store.count(customers).await? == 0)
}

/// Returns whether Marketing has forgotten all of the customers.
async fn is_forgotten(customers: &[Uuid], marketing: &mut Marketing) -> anyhow::Result<bool> {
    let rows = marketing.received(customers).await?;
    Ok(rows.len() == customers.len() && rows.iter().all(|found| found.row.is_forgotten()))
}
