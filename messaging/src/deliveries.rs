//! The deliveries of one consumer, with a slow start.
//!
//! A delivery counts whenever a session fails with the message unsettled. At the delivery limit the broker
//! dead-letters the message. So a message that ends its session must be the only one in flight, or others
//! would be charged as well. Therefore a session starts with a prefetch of 1. It doubles the prefetch with each settled
//! batch while the broker uses all of it, up to [`MAX_PREFETCH`], but not while the broker redelivers messages: one of
//! these may have ended the session before.
//!
//! A larger prefetch needs a new consumer, and a pause needs none. If the broker sends a message while it cancels a
//! consumer, it puts the message back, and this counts as well (seen with 3.10). So a consumer is cancelled while it
//! holds as many messages as the broker may send, or while none arrive.

use std::time::Duration;

use contracts::topology::Queue;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::{Instant, sleep};

use crate::{Incoming, Session, SessionError, session::with_reply_timeout};

/// The maximum of unsettled messages: one batch that is being handled and one on its way.
const MAX_PREFETCH: u16 = 512;

/// The maximum of unsettled message bodies, in bytes. The session stops reading when it is exceeded.
const MAX_UNSETTLED_BYTES: u64 = 32 * 1024 * 1024;

/// A queue is silent if it delivers nothing for this time.
const SILENCE: Duration = Duration::from_millis(50);

/// The longest wait for silence, or for as many messages as the broker may send.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The deliveries of a queue. They start stopped.
pub(crate) struct Deliveries<'a> {
    session: &'a Session,
    queue: &'a Queue,
    /// `None` while they are stopped.
    consumer: Option<lapin::Consumer>,
    prefetch: u16,
    /// The largest prefetch.
    limit: u16,
    /// Whether the consumer is cancelled. It ends after its last delivery.
    cancelled: bool,
}

impl<'a> Deliveries<'a> {
    /// Creates deliveries that start with a prefetch of 1.
    pub(crate) fn new(session: &'a Session, queue: &'a Queue) -> Self {
        session.transport.limit_unsettled(MAX_UNSETTLED_BYTES);
        Self { session, queue, consumer: None, prefetch: 1, limit: MAX_PREFETCH, cancelled: false }
    }

    /// Returns whether there is no consumer, and all of its deliveries have been returned.
    pub(crate) fn are_stopped(&self) -> bool {
        self.consumer.is_none()
    }

    /// Limits the prefetch from the next start on. `None` means no limit but the usual one.
    pub(crate) fn limit_prefetch(&mut self, limit: Option<u16>) {
        self.limit = limit.unwrap_or(MAX_PREFETCH).min(MAX_PREFETCH);
        self.prefetch = self.prefetch.min(self.limit);
    }

    /// Starts stopped deliveries.
    pub(crate) async fn start(&mut self) -> Result<(), SessionError> {
        self.consumer = Some(consume(self.session, self.queue, self.prefetch).await?);
        self.cancelled = false;
        Ok(())
    }

    /// Stops the deliveries after those that the consumer has already received. All earlier ones are settled.
    pub(crate) async fn stop(&mut self) -> Result<(), SessionError> {
        if self.consumer.is_none() || self.cancelled {
            return Ok(());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        let counts = self.session.transport.counts();
        while !self.uses_prefetch() && Instant::now() < deadline {
            let received = counts.received();
            sleep(SILENCE).await;
            if counts.received() == received {
                break;
            }
        }
        self.cancel().await
    }

    /// Returns whether the consumer holds as many messages as the broker may send.
    fn uses_prefetch(&self) -> bool {
        let counts = self.session.transport.counts();
        let settled = counts.settled();
        counts.received().saturating_sub(settled) >= self.prefetch.into()
    }

    async fn cancel(&mut self) -> Result<(), SessionError> {
        let Some(consumer) = self.consumer.as_ref().filter(|_| !self.cancelled) else { return Ok(()) };
        self.cancelled = true;
        let channel = self.session.channel();
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        with_reply_timeout("cancel", cancel).await
    }

    /// Waits for the next delivery. Returns `None` when the deliveries have stopped.
    ///
    /// # Errors
    /// Returns [`SessionError::Cancelled`] if the broker has cancelled the consumer.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, SessionError> {
        let Some(consumer) = &mut self.consumer else { return Ok(None) };
        let delivery = consumer.next().await;
        self.incoming(delivery)
    }

    /// Returns the next delivery if it has already arrived.
    pub(crate) fn next_ready(&mut self) -> Result<Option<Incoming>, SessionError> {
        let Some(consumer) = &mut self.consumer else { return Ok(None) };
        let delivery = consumer.next().now_or_never();
        delivery.map_or(Ok(None), |delivery| self.incoming(delivery))
    }

    /// Converts a delivery. Returns `None` after the last one of a consumer that this session has cancelled.
    fn incoming(
        &mut self,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<Option<Incoming>, SessionError> {
        match delivery {
            Some(delivery) => Ok(Some(Incoming::from(delivery?))),
            None if self.cancelled => {
                self.consumer = None;
                Ok(None)
            }
            None => Err(SessionError::Cancelled(self.queue.name)),
        }
    }

    /// Lets the prefetch grow: the next start uses a larger one. The batch is not settled yet.
    pub(crate) async fn grow(&mut self, batch: &[Incoming]) -> Result<(), SessionError> {
        let redelivered = batch.iter().any(|message| message.delivery.redelivered);
        if self.prefetch < self.limit && !redelivered && !self.cancelled && self.uses_prefetch() {
            self.cancel().await?;
            self.prefetch = (self.prefetch * 2).min(self.limit);
        }
        Ok(())
    }

    /// Releases a settled batch.
    pub(crate) fn settled(&self, batch: &[Incoming]) {
        let bytes = batch.iter().map(|message| message.delivery.data.len() as u64).sum();
        self.session.transport.settled(batch.len() as u64, bytes);
    }
}

async fn consume(session: &Session, queue: &Queue, prefetch: u16) -> Result<lapin::Consumer, SessionError> {
    let channel = session.channel();
    with_reply_timeout("prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(queue.name.into(), "".into(), options, FieldTable::default());
    with_reply_timeout("consume", consume).await
}
