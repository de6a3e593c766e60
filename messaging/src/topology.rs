//! Declares exchanges and queues from their definitions in [`contracts::topology`].

use std::time::Duration;

use contracts::topology::Queue;
use lapin::{
    ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use crate::{Session, SessionError, envelope::string_value, session::with_reply_timeout};

/// The number of deliveries after which the broker itself moves a message to the dead letters.
///
/// It is the safety net against a message that kills its consumer. A delivery counts whenever a consumer
/// disconnects without settling it, so the limit leaves room for many crashes and restarts. Without a limit,
/// RabbitMQ 4 applies 20.
const DELIVERY_LIMIT: i32 = 1000;

/// The delivery limit of dead letters. They have no consumer, but each inspection counts as a delivery.
///
/// RabbitMQ 4 would drop a letter after the twentieth delivery, and 3.10 has no value for "unlimited".
const DEAD_LETTER_DELIVERY_LIMIT: i32 = 1_000_000_000;

/// The wait between declaring a new queue and binding it.
///
/// RabbitMQ writes the names of its quorum queues to a file half a second after the last change. If it is
/// killed before that, it loses the messages that the new queue has confirmed. Observed on 3.10, where the
/// queue also stops replying, and on 4.3.
const QUEUE_NAME_FLUSH_DELAY: Duration = Duration::from_secs(1);

impl Session {
    /// Declares a topic exchange.
    ///
    /// # Errors
    /// Returns an error if the session broke or the exchange exists with other properties.
    pub async fn declare_exchange(&self, name: &str) -> Result<(), SessionError> {
        self.exchange_declare(name, ExchangeKind::Topic).await
    }

    /// Declares a queue with its exchange and its binding, and the same for its dead letters.
    ///
    /// A new queue is bound only after the broker has written its name to disk. Until then, no message is
    /// routed to it, so none can be confirmed and then lost.
    ///
    /// # Errors
    /// Returns an error if the session broke or one of them exists with other properties.
    pub async fn declare_queue(&self, queue: &Queue) -> Result<(), SessionError> {
        let dead_letters = queue.dead_letter_queue();
        let is_new =
            self.queue_state(&dead_letters).await?.is_none() || self.queue_state(queue.name).await?.is_none();
        self.queue_declare(&dead_letters, quorum_arguments(DEAD_LETTER_DELIVERY_LIMIT)).await?;
        self.queue_declare(queue.name, consumer_queue_arguments(queue)).await?;
        if is_new {
            sleep(QUEUE_NAME_FLUSH_DELAY).await;
        }
        self.exchange_declare(queue.dead_letter_exchange, ExchangeKind::Direct).await?;
        self.queue_bind(&dead_letters, queue.dead_letter_exchange, queue.name).await?;
        self.exchange_declare(queue.exchange, ExchangeKind::Topic).await?;
        self.queue_bind(queue.name, queue.exchange, queue.routing_key).await
    }

    async fn exchange_declare(&self, name: &str, kind: ExchangeKind) -> Result<(), SessionError> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declare = self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        with_reply_timeout("declare an exchange", declare).await
    }

    async fn queue_declare(&self, name: &str, arguments: FieldTable) -> Result<(), SessionError> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declare = self.channel.queue_declare(name.into(), options, arguments);
        with_reply_timeout("declare a queue", declare).await.map(drop)
    }

    async fn queue_bind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<(), SessionError> {
        let bind = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        with_reply_timeout("bind a queue", bind).await
    }
}

pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

fn quorum_arguments(delivery_limit: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), string_value("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    arguments
}

fn consumer_queue_arguments(queue: &Queue) -> FieldTable {
    let mut arguments = quorum_arguments(DELIVERY_LIMIT);
    arguments.insert("x-dead-letter-exchange".into(), string_value(queue.dead_letter_exchange));
    arguments.insert("x-dead-letter-routing-key".into(), string_value(queue.name));
    // The broker also removes a message only after the dead-letter queue has confirmed it. It accepts this
    // strategy only together with `reject-publish`.
    arguments.insert("x-dead-letter-strategy".into(), string_value("at-least-once"));
    arguments.insert("x-overflow".into(), string_value("reject-publish"));
    arguments
}
