//! The state of a queue, without an effect on it.

use lapin::{options::QueueDeclareOptions, types::FieldTable};

use crate::{
    Session, SessionError,
    session::{close_channel, with_reply_timeout},
};

/// The state of a queue, as the broker reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueState {
    /// The number of messages that no consumer holds. It includes all messages that the broker has confirmed before.
    pub ready_messages: u32,
    /// The number of consumers, including those that are cancelled and still hold messages.
    pub consumers: u32,
}

impl Session {
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
