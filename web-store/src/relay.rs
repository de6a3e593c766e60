//! The relay: moves events from the outbox to the broker, and deletes only what the broker confirmed.

use std::{collections::HashMap, time::Duration};

use contracts::topology;
use messaging::{Backoff, BrokerUrl, ConnectionStatus, Outgoing, PublishOutcome, Session, SessionError};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

/// The largest number of events in one claim.
const MAX_BATCH: i64 = 256;

/// How often the relay queries the outbox without a notification. It finds events of an instance that crashed
/// and events that an operator republished.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The relay's connections, and the notification of new events.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) database: PgConnectOptions,
    pub(crate) broker: BrokerUrl,
    /// Notified after each commit that writes to the outbox.
    pub(crate) wake: Notify,
}

impl Relay {
    /// Runs one session until shutdown or until the first error.
    ///
    /// # Errors
    /// Returns an error if the broker or the database fails. The database then releases claimed events with
    /// the connection. Events that the broker took without a received confirm are published again.
    pub(crate) async fn session(
        &self,
        status: &ConnectionStatus,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let broker = Session::open_publisher(&self.broker, "web-store relay").await?;
        broker.declare_exchange(topology::WEB_STORE_EVENTS).await?;
        let mut outbox = Outbox::connect(&self.database).await?;
        status.up();
        let mut paused = PausedTypes::default();
        while !shutdown.is_cancelled() {
            if relay_batch(&mut outbox, &broker, &mut paused).await? {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep(POLL_INTERVAL) => {}
                () = shutdown.cancelled() => {}
                () = broker.wait_closed() => return Err(SessionError::Lost.into()),
            }
        }
        broker.close().await;
        Ok(())
    }
}

/// Relays one batch. Returns whether the batch was full, so that more events may be waiting.
async fn relay_batch(
    outbox: &mut Outbox,
    broker: &Session,
    paused: &mut PausedTypes,
) -> anyhow::Result<bool> {
    let claim = outbox.claim(MAX_BATCH, &paused.excluded()).await?;
    if claim.messages.is_empty() {
        return Ok(false);
    }
    let outcomes = broker.publish(&claim.messages).await?;
    let mut delivered = Vec::with_capacity(outcomes.len());
    for (message, outcome) in claim.messages.iter().zip(outcomes) {
        match outcome {
            PublishOutcome::Confirmed => {
                paused.resume(message);
                delivered.push(message.envelope.message_id);
            }
            PublishOutcome::Returned | PublishOutcome::Nacked => paused.pause(message, outcome),
        }
    }
    let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
    claim.complete(&delivered).await?;
    Ok(full)
}

/// Message types that the broker currently refuses: no queue is bound, or a queue is full. Their events stay
/// in the outbox until the broker accepts them, and do not delay events of other types.
#[derive(Default)]
struct PausedTypes(HashMap<String, (Instant, Backoff)>);

impl PausedTypes {
    /// Returns the types whose next attempt is not due yet.
    fn excluded(&self) -> Vec<String> {
        let now = Instant::now();
        let waiting = self.0.iter().filter(|(_, (retry_at, _))| *retry_at > now);
        waiting.map(|(message_type, _)| message_type.clone()).collect()
    }

    fn pause(&mut self, message: &Outgoing, outcome: PublishOutcome) {
        let message_type = message.envelope.message_type.to_string();
        if !self.0.contains_key(&message_type) {
            tracing::warn!(
                message_type,
                ?outcome,
                "the broker does not accept these events; they wait in the outbox"
            );
        }
        let now = Instant::now();
        let (retry_at, backoff) = self.0.entry(message_type).or_insert_with(|| (now, Backoff::default()));
        // The first message of a batch sets the time; the others of its type follow.
        if *retry_at <= now {
            *retry_at = now + backoff.next_delay();
        }
    }

    fn resume(&mut self, message: &Outgoing) {
        if self.0.remove(message.envelope.message_type.as_ref()).is_some() {
            tracing::info!(message_type = %message.envelope.message_type, "the broker accepts these events again");
        }
    }
}
