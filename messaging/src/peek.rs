//! Inspection of a queue: shows every ready message and puts all of them back.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{
    Incoming, Session, SessionError,
    session::{close_channel, with_reply_timeout},
};

/// The maximum of unsettled messages for each consumer. The broker reads this number of messages from its disk
/// before it sends the first one: with 65,535 that took seconds.
const PREFETCH: u16 = 2000;

/// If the queue delivers nothing for this time, it is empty: its own consumer took the other messages.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a queue, as the broker reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueState {
    /// The number of messages that no consumer holds. It includes all messages that the broker has confirmed before.
    pub ready_messages: u32,
    /// The number of consumers, including those that are cancelled and still hold messages.
    pub consumers: u32,
}

impl Session {
    /// Passes every ready message of a queue to `visit`, and puts all of them back in their order.
    ///
    /// Closing the session puts the messages back. A queue that does not exist counts as empty. Meanwhile the
    /// queue's own consumers do not receive these messages. Each call counts as one delivery of each message.
    ///
    /// # Errors
    /// Returns an error if the session broke. Returns [`SessionError::ReplyTimeout`] if the broker withheld
    /// messages that no other consumer can have taken. In both cases the messages are put back.
    pub async fn peek(self, queue: &str, mut visit: impl FnMut(&Incoming)) -> Result<(), SessionError> {
        let Some(state) = self.queue_state(queue).await? else { return Ok(()) };
        let has_other_consumers = state.consumers > 0;
        let channel = self.channel();
        let options = BasicQosOptions::default();
        with_reply_timeout("prefetch", channel.basic_qos(PREFETCH, options)).await?;
        let mut consumers = Vec::new();
        let mut remaining = state.ready_messages;
        // The consumers run one after another, so that only one consumer's messages are in memory. Each holds
        // its messages unsettled until the session closes.
        'queue: while remaining > 0 {
            let options = BasicConsumeOptions::default();
            let consume = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
            let mut consumer = with_reply_timeout("consume", consume).await?;
            for _ in 0..remaining.min(PREFETCH.into()) {
                match timeout(SILENCE_TIMEOUT, consumer.next()).await {
                    Ok(Some(delivery)) => visit(&Incoming::from(delivery?)),
                    Ok(None) | Err(_) if has_other_consumers => break 'queue,
                    // No other consumer can have taken them.
                    Ok(None) | Err(_) => return Err(SessionError::ReplyTimeout("deliver ready messages")),
                }
                remaining -= 1;
            }
            consumers.push(consumer);
        }
        self.close().await;
        Ok(())
    }

    /// Returns the state of a queue, or `None` if it does not exist. This has no effect on the queue.
    ///
    /// Since RabbitMQ 4.3.1, the user needs any permission on the queue:
    /// <https://github.com/rabbitmq/rabbitmq-server/pull/16272>.
    ///
    /// Uses a separate channel, because the broker closes the channel if the queue does not exist.
    ///
    /// # Errors
    /// Returns an error if the session broke.
    pub async fn queue_state(&self, queue: &str) -> Result<Option<QueueState>, SessionError> {
        let channel = self.open_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let declare = channel.queue_declare(queue.into(), passive, FieldTable::default());
        match with_reply_timeout("inspect a queue", declare).await {
            Ok(found) => {
                close_channel(&channel).await?;
                let ready_messages = found.message_count();
                Ok(Some(QueueState { ready_messages, consumers: found.consumer_count() }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
