//! The relay: moves messages from the outbox to the broker, and deletes only what the broker confirmed.

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

/// The most messages in one claim.
const BATCH: i64 = 256;

/// How often to look for messages of which this process was not told: another instance's that crashed,
/// or an operator's.
const POLL: Duration = Duration::from_secs(1);

/// What a relay works with.
#[derive(Debug)]
pub struct Relay {
    /// The outbox's database.
    pub database: PgConnectOptions,
    /// Where to publish to.
    pub broker: BrokerUrl,
    /// Told after each commit that there is something in the outbox.
    pub wake: Notify,
}

impl Relay {
    /// One session: until shutdown, or until anything goes wrong.
    ///
    /// # Errors
    /// The broker or the database broke. Claimed messages are free again, since their claim ends with
    /// the connection; those that the broker took all the same will be sent once more.
    pub async fn session(&self, link: &ConnectionStatus, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let broker = Session::open_publisher(&self.broker, "web-store relay").await?;
        broker.declare_exchange(topology::WEB_STORE_EVENTS).await?;
        let mut outbox = Outbox::connect(&self.database).await?;
        link.up();
        let mut undeliverable = Undeliverable::default();
        while !shutdown.is_cancelled() {
            if move_batch(&mut outbox, &broker, &mut undeliverable).await? {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep(POLL) => {}
                () = shutdown.cancelled() => {}
                () = broker.wait_closed() => return Err(SessionError::Lost.into()),
            }
        }
        broker.close().await;
        Ok(())
    }
}

/// Moves one batch; whether there may be more to move at once.
async fn move_batch(
    outbox: &mut Outbox,
    broker: &Session,
    undeliverable: &mut Undeliverable,
) -> anyhow::Result<bool> {
    let claim = outbox.claim(BATCH, &undeliverable.types()).await?;
    if claim.messages.is_empty() {
        return Ok(false);
    }
    let receipts = broker.publish(&claim.messages).await?;
    let mut left = Vec::with_capacity(receipts.len());
    for (message, receipt) in claim.messages.iter().zip(receipts) {
        match receipt {
            PublishOutcome::Confirmed => {
                undeliverable.forget(message);
                left.push(message.envelope.message_id);
            }
            PublishOutcome::Returned | PublishOutcome::Nacked => undeliverable.note(message, receipt),
        }
    }
    let more = claim.messages.len() == usize::try_from(BATCH)?;
    claim.finish(&left).await?;
    Ok(more)
}

/// Message types that the broker does not take at the moment, because nobody is bound to receive them or
/// their queue refuses. They stay in the outbox for as long as it takes, without holding up the others.
#[derive(Default)]
struct Undeliverable(HashMap<String, (Instant, Backoff)>);

impl Undeliverable {
    /// The types that it is too early to try again.
    fn types(&self) -> Vec<String> {
        let now = Instant::now();
        let waiting = self.0.iter().filter(|(_, (retry_at, _))| *retry_at > now);
        waiting.map(|(message_type, _)| message_type.clone()).collect()
    }

    fn note(&mut self, message: &Outgoing, receipt: PublishOutcome) {
        let message_type = message.envelope.message_type.to_string();
        if !self.0.contains_key(&message_type) {
            tracing::warn!(
                message_type,
                ?receipt,
                "the broker does not take these events; they wait in the outbox"
            );
        }
        let now = Instant::now();
        let (retry_at, backoff) = self.0.entry(message_type).or_insert_with(|| (now, Backoff::default()));
        // The first message of a batch sets the time; the others of its type follow.
        if *retry_at <= now {
            *retry_at = now + backoff.next_delay();
        }
    }

    fn forget(&mut self, message: &Outgoing) {
        if self.0.remove(message.envelope.message_type.as_ref()).is_some() {
            tracing::info!(message_type = %message.envelope.message_type, "the broker takes these events again");
        }
    }
}
