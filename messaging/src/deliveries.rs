//! The deliveries of one consumer, with a slow start.
//!
//! A delivery counts whenever a session fails with the message unsettled. At the delivery limit the broker
//! dead-letters the message. So a message that ends its session must be the only one in flight, or others
//! would be charged as well. Therefore a session starts with a prefetch of 1. It doubles the prefetch with each settled
//! batch, up to [`MAX_PREFETCH`], but not while the broker redelivers messages: one of these may have ended the
//! session before.

use contracts::topology::Queue;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};

use crate::{Incoming, Session, SessionError, session::with_reply_timeout};

/// The maximum of unsettled messages: one batch that is being handled and one on its way.
const MAX_PREFETCH: u16 = 512;

/// The maximum of unsettled message bodies, in bytes. The session stops reading when it is exceeded.
const MAX_UNSETTLED_BYTES: u64 = 32 * 1024 * 1024;

/// The deliveries of a queue.
pub(crate) struct Deliveries<'a> {
    session: &'a Session,
    queue: &'a Queue,
    consumer: lapin::Consumer,
    prefetch: u16,
    /// Whether this consumer is cancelled, so that the next one can start with a larger prefetch.
    cancelled: bool,
    /// Whether the cancelled consumer has returned its last delivery.
    ended: bool,
}

impl<'a> Deliveries<'a> {
    /// Starts to consume with a prefetch of 1.
    pub(crate) async fn start(session: &'a Session, queue: &'a Queue) -> Result<Self, SessionError> {
        session.transport.limit_unsettled(MAX_UNSETTLED_BYTES);
        let consumer = consume(session, queue, 1).await?;
        Ok(Self { session, queue, consumer, prefetch: 1, cancelled: false, ended: false })
    }

    /// Waits for the next delivery.
    ///
    /// # Errors
    /// Returns [`SessionError::Cancelled`] if the broker has cancelled the consumer.
    pub(crate) async fn next(&mut self) -> Result<Incoming, SessionError> {
        loop {
            if self.ended {
                self.consumer = consume(self.session, self.queue, self.prefetch).await?;
                (self.cancelled, self.ended) = (false, false);
            }
            let delivery = self.consumer.next().await;
            if let Some(message) = self.incoming(delivery)? {
                return Ok(message);
            }
        }
    }

    /// Returns the next delivery if it has already arrived.
    pub(crate) fn next_ready(&mut self) -> Result<Option<Incoming>, SessionError> {
        if self.ended {
            return Ok(None);
        }
        let delivery = self.consumer.next().now_or_never();
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
                self.ended = true;
                Ok(None)
            }
            None => Err(SessionError::Cancelled(self.queue.name)),
        }
    }

    /// Releases a settled batch, and lets the prefetch grow.
    pub(crate) async fn settled(&mut self, batch: &[Incoming]) -> Result<(), SessionError> {
        let bytes = batch.iter().map(|message| message.delivery.data.len() as u64).sum();
        self.session.transport.settled(batch.len() as u64, bytes);
        let redelivered = batch.iter().any(|message| message.delivery.redelivered);
        if self.prefetch < MAX_PREFETCH && !redelivered && !self.cancelled {
            self.prefetch = (self.prefetch * 2).min(MAX_PREFETCH);
            self.cancelled = true;
            let channel = self.session.channel();
            let cancel = channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
            with_reply_timeout("cancel", cancel).await?;
        }
        Ok(())
    }
}

async fn consume(session: &Session, queue: &Queue, prefetch: u16) -> Result<lapin::Consumer, SessionError> {
    let channel = session.channel();
    with_reply_timeout("prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(queue.name.into(), "".into(), options, FieldTable::default());
    with_reply_timeout("consume", consume).await
}
