//! Looking into a queue: every message that is ready is read, and all are put back.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{Incoming, Session, SessionError, session::answered, topology::is_not_found};

/// The most messages that the broker hands to one consumer unsettled. It reads so many from its disk
/// before it sends the first: with 65,535 that took seconds.
const PREFETCH: u16 = 2000;

/// A queue that hands out nothing for so long has nothing more: its own consumer took the rest.
const SILENCE: Duration = Duration::from_secs(5);

/// A queue from outside.
pub(crate) struct Ready {
    /// How many messages no consumer holds.
    messages: u32,
    consumers: u32,
}

impl Session {
    /// Shows every message that is ready in a queue and puts them all back, in their order, by closing
    /// the session. A queue that does not exist is an empty one.
    ///
    /// Meanwhile the queue's own consumers do not get these messages. Each look counts as one delivery
    /// of each message.
    ///
    /// # Errors
    /// The session broke, or the broker held messages back that nobody else consumes. All are put back
    /// even so.
    pub async fn peek(self, queue: &str, mut see: impl FnMut(&Incoming)) -> Result<(), SessionError> {
        let Some(Ready { messages, consumers: others }) = self.ready(queue).await? else { return Ok(()) };
        let options = BasicQosOptions::default();
        answered("prefetch", self.channel.basic_qos(PREFETCH, options)).await?;
        let mut consumers = Vec::new();
        let mut left = messages;
        // One after another, so that only one consumer's messages are in memory; each keeps what it got.
        'looking: while left > 0 {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consume = self.channel.basic_consume(queue.into(), "".into(), options, arguments);
            let mut consumer = answered("consume", consume).await?;
            for _ in 0..left.min(PREFETCH.into()) {
                match timeout(SILENCE, consumer.next()).await {
                    Ok(Some(delivery)) => see(&Incoming { delivery: delivery? }),
                    Ok(None) | Err(_) if others > 0 => break 'looking,
                    // Nobody else can have taken them.
                    Ok(None) | Err(_) => return Err(SessionError::NoAnswer("hand out what is ready")),
                }
                left -= 1;
            }
            consumers.push(consumer);
        }
        self.close().await;
        Ok(())
    }

    /// What is ready in a queue; `None` if there is no such queue.
    ///
    /// Asked on a channel of its own, because "no such queue" closes it.
    pub(crate) async fn ready(&self, queue: &str) -> Result<Option<Ready>, SessionError> {
        let channel = answered("open a channel", self.connection.create_channel()).await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = channel.queue_declare(queue.into(), passive, FieldTable::default());
        match answered("look for a queue", asked).await {
            Ok(found) => {
                answered("close a channel", channel.close(200, "done".into())).await?;
                Ok(Some(Ready { messages: found.message_count(), consumers: found.consumer_count() }))
            }
            Err(SessionError::Broken(error)) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
