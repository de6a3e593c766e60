//! Declares exchanges and queues, each from its one definition in [`contracts::topology`].

use std::time::Duration;

use contracts::topology::Queue;
use lapin::{
    ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

use tokio::time::sleep;

use crate::{Session, SessionError, envelope::text, session::answered};

/// After so many deliveries the broker itself moves a message to the dead letters, as a safety net
/// against one that kills its consumer. A delivery counts whenever a consumer went away without an
/// answer, so the number leaves room for many crashes and restarts; without it RabbitMQ 4 takes 20.
const DELIVERY_LIMIT: i32 = 1000;

/// Dead letters have no consumer, only people and programs that look and put back, and each look counts
/// as a delivery. RabbitMQ 4 would drop a letter after the twentieth; 3.10 knows no way to say "never".
const LOOKS_AT_A_DEAD_LETTER: i32 = 1_000_000_000;

/// RabbitMQ keeps the names of its quorum queues in a file that it writes half a second after the last
/// change. Killed before that, it confirms what a new queue takes and comes back with that queue empty:
/// seen on 3.10 (where it never answers again, either) and on 4.3.
const UNTIL_THE_NAME_IS_SAFE: Duration = Duration::from_secs(1);

impl Session {
    /// Declares a topic exchange.
    ///
    /// # Errors
    /// The session broke, or the exchange exists with other properties.
    pub async fn declare_exchange(&self, name: &str) -> Result<(), SessionError> {
        self.exchange(name, ExchangeKind::Topic).await
    }

    /// Declares a queue with all it needs: its exchange, its binding, and the same for its dead letters.
    ///
    /// A new queue is bound only when the broker would remember it after a crash: until then nothing is
    /// routed to it, so nothing can be confirmed and then lost.
    ///
    /// # Errors
    /// The session broke, or something exists with other properties.
    pub async fn declare_queue(&self, queue: &Queue) -> Result<(), SessionError> {
        let dead_letters = queue.dead_letter_queue();
        let is_new = self.ready(&dead_letters).await?.is_none() || self.ready(queue.name).await?.is_none();
        self.queue(&dead_letters, quorum(LOOKS_AT_A_DEAD_LETTER)).await?;
        self.queue(queue.name, with_dead_letters(queue)).await?;
        if is_new {
            sleep(UNTIL_THE_NAME_IS_SAFE).await;
        }
        self.exchange(queue.dead_letter_exchange, ExchangeKind::Direct).await?;
        self.bind(&dead_letters, queue.dead_letter_exchange, queue.name).await?;
        self.exchange(queue.exchange, ExchangeKind::Topic).await?;
        self.bind(queue.name, queue.exchange, queue.routing_key).await
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind) -> Result<(), SessionError> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declare = self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        answered("declare an exchange", declare).await
    }

    async fn queue(&self, name: &str, arguments: FieldTable) -> Result<(), SessionError> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declare = self.channel.queue_declare(name.into(), options, arguments);
        answered("declare a queue", declare).await.map(drop)
    }

    async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<(), SessionError> {
        let bind = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        answered("bind a queue", bind).await
    }
}

pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

fn quorum(delivery_limit: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    arguments
}

fn with_dead_letters(queue: &Queue) -> FieldTable {
    let mut arguments = quorum(DELIVERY_LIMIT);
    arguments.insert("x-dead-letter-exchange".into(), text(queue.dead_letter_exchange));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue.name));
    // The broker, too, lets go of a message only once the dead-letter queue has confirmed it; it
    // accepts this strategy only together with `reject-publish`.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}
