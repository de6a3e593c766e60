//! Declares exchanges and queues from their definitions in [`contracts::topology`].

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use contracts::topology::{Queue, Replay};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use crate::{
    ConnectionStatus, Session, SessionError,
    envelope::string_value,
    gap::Gap,
    session::{close_channel, with_reply_timeout},
};

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
pub(crate) const QUEUE_NAME_FLUSH_DELAY: Duration = Duration::from_secs(1);

/// The interval in which an owner declares its topology again.
const DECLARE_INTERVAL: Duration = Duration::from_secs(30);

impl Session {
    /// Declares a topic exchange. If the broker refuses that, the exchange that exists is used.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if the exchange does not exist and cannot be declared.
    pub async fn declare_exchange(&self, name: &str) -> Result<(), SessionError> {
        self.declare_exchange_of(ExchangeKind::Topic, name).await
    }

    /// Declares a direct exchange. If the broker refuses that, the exchange that exists is used.
    ///
    /// # Errors
    /// Returns the errors of [`Session::declare_exchange`].
    pub async fn declare_direct_exchange(&self, name: &str) -> Result<(), SessionError> {
        self.declare_exchange_of(ExchangeKind::Direct, name).await
    }

    async fn declare_exchange_of(&self, kind: ExchangeKind, name: &str) -> Result<(), SessionError> {
        let problem = self.declare(&[Declaration::Exchange(name, kind)]).await?;
        if let Some(problem) = problem {
            tracing::warn!("{problem}");
        }
        Ok(())
    }

    /// Declares a queue that no consumer empties, with practically no delivery limit. If the broker refuses that, the
    /// queue that exists is used.
    ///
    /// # Errors
    /// Returns the errors of [`Session::declare_exchange`].
    pub async fn declare_storage(&self, name: &str) -> Result<(), SessionError> {
        self.declare_alone(name, quorum_arguments(DEAD_LETTER_DELIVERY_LIMIT)).await
    }

    /// Declares a stream: a log whose messages stay after they are read. If the broker refuses that, the stream that
    /// exists is used.
    ///
    /// # Errors
    /// Returns the errors of [`Session::declare_exchange`].
    pub async fn declare_stream(&self, name: &str) -> Result<(), SessionError> {
        self.declare_alone(name, stream_arguments()).await
    }

    /// Declares a stream if it does not exist, to read it. Its writer uses [`Session::declare_stream`].
    pub(crate) async fn ensure_stream(&self, name: &str) -> Result<(), SessionError> {
        if self.queue_state(name).await?.is_none() {
            self.declare(&[Declaration::Queue(name, stream_arguments())]).await?;
        }
        Ok(())
    }

    async fn declare_alone(&self, name: &str, arguments: FieldTable) -> Result<(), SessionError> {
        let is_new = self.queue_state(name).await?.is_none();
        if let Some(problem) = self.declare(&[Declaration::Queue(name, arguments)]).await? {
            tracing::warn!("{problem}");
        }
        if is_new {
            sleep(QUEUE_NAME_FLUSH_DELAY).await;
        }
        Ok(())
    }

    /// Binds a queue to a direct exchange, with its own name as the key. Returns whether the queue exists.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing.
    pub async fn bind_by_name(&self, queue: &str, exchange: &str) -> Result<bool, SessionError> {
        let channel = self.open_channel().await?;
        match Declaration::Binding(queue, exchange, queue).declare(&channel).await {
            Ok(()) => close_channel(&channel).await.map(|()| true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Declares a queue with its exchange and its binding, and the same for its dead letters. Objects that the
    /// broker refuses to declare are used if they exist. Returns the problem with them, and its fix.
    ///
    /// A new queue is bound only after the broker has written its name to disk. Until then, no message is
    /// routed to it, so none can be confirmed and then lost. Before a new queue exists, its gap is marked. See
    /// `gap.rs`.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if the queue does not exist and cannot be declared.
    pub async fn declare_queue(&self, queue: &Queue) -> Result<Option<String>, SessionError> {
        let dead_letters = queue.dead_letter_queue();
        let is_missing = self.queue_state(queue.name).await?.is_none();
        let is_new = is_missing || self.queue_state(&dead_letters).await?.is_none();
        if is_missing && queue.replay != Replay::Never {
            self.mark_gap(&queue.gap_marker()).await?;
        }
        let queues = self
            .declare(&[
                Declaration::Queue(&dead_letters, quorum_arguments(DEAD_LETTER_DELIVERY_LIMIT)),
                Declaration::Queue(queue.name, consumer_queue_arguments(queue)),
            ])
            .await?;
        if is_missing {
            self.created_queue.store(true, Ordering::Relaxed);
        }
        if is_new {
            sleep(QUEUE_NAME_FLUSH_DELAY).await;
        }
        let former = queue.former_binding_keys();
        let routes = self
            .declare(&[
                Declaration::Exchange(queue.dead_letter_exchange, ExchangeKind::Direct),
                Declaration::Binding(&dead_letters, queue.dead_letter_exchange, queue.name),
                Declaration::Exchange(queue.exchange, ExchangeKind::Topic),
                Declaration::Binding(queue.name, queue.exchange, &queue.binding_key()),
                Declaration::NoBinding(queue.name, queue.exchange, &former[0]),
                Declaration::NoBinding(queue.name, queue.exchange, &former[1]),
            ])
            .await?;
        let replays = self.bind_to_replays(queue).await?;
        Ok(queues.or(routes).or(replays))
    }

    /// Binds a queue to the exchange on which the owner of its events sends them again. Returns the problem with that:
    /// without this binding, the consumer still receives the other events.
    async fn bind_to_replays(&self, queue: &Queue) -> Result<Option<String>, SessionError> {
        let Replay::FromExchange(exchange) = queue.replay else { return Ok(None) };
        let declarations = [
            Declaration::Exchange(exchange, ExchangeKind::Direct),
            Declaration::Binding(queue.name, exchange, queue.name),
        ];
        match self.declare(&declarations).await {
            Err(error) if error.is_refusal() => {
                Ok(Some(format!("{} cannot receive replayed events: {error}", queue.name)))
            }
            bound => bound,
        }
    }

    /// Marks that a queue has missed messages. Without the permission to do so, an operator provides the topology and
    /// requests the messages.
    pub(crate) async fn mark_gap(&self, marker: &str) -> Result<(), SessionError> {
        match self.declare(&[Declaration::Exchange(marker, ExchangeKind::Direct)]).await {
            Err(error) if error.is_refusal() => {
                tracing::warn!(exchange = marker, %error, "cannot mark the gap of a new queue");
                Ok(())
            }
            declared => declared.map(drop),
        }
    }

    /// Returns whether an exchange exists. The marker of a gap is one.
    pub(crate) async fn has_exchange(&self, name: &str) -> Result<bool, SessionError> {
        let channel = self.open_channel().await?;
        match Declaration::Exchange(name, ExchangeKind::Direct).exists(&channel).await {
            Ok(()) => {
                close_channel(&channel).await?;
                Ok(true)
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes the marker of a gap. A marker that does not exist counts as deleted.
    pub(crate) async fn delete_gap_marker(&self, marker: &str) -> Result<(), SessionError> {
        let channel = self.open_channel().await?;
        let delete = channel.exchange_delete(marker.into(), ExchangeDeleteOptions::default());
        with_reply_timeout("delete an exchange", delete).await?;
        close_channel(&channel).await
    }

    /// Declares the topology of a queue again in an interval, so that objects deleted by hand come back. Reports
    /// what it cannot repair in `status`. After each declaration, closes the gap of the queue. Never returns.
    pub(crate) async fn keep_topology(
        &self,
        queue: &Queue,
        status: &ConnectionStatus,
        mut gap: Option<Gap<'_>>,
    ) -> Infallible {
        let mut is_declared = true;
        loop {
            let pause = match &mut gap {
                // Without its bindings, the queue would miss the messages after the request.
                Some(gap) if is_declared => gap.close(self).await.unwrap_or(DECLARE_INTERVAL),
                _ => DECLARE_INTERVAL,
            };
            sleep(pause).await;
            let declared = self.declare_queue(queue).await;
            is_declared = declared.is_ok();
            match declared {
                Ok(problem) => status.set_problem(problem),
                // The consumer notices a broken session itself.
                Err(error) if !error.is_refusal() => {}
                Err(error) => status.set_problem(Some(error.to_string())),
            }
        }
    }

    /// Declares objects on a channel of their own, because a refusal closes it. Returns the first problem with an
    /// object that exists.
    async fn declare(&self, declarations: &[Declaration<'_>]) -> Result<Option<String>, SessionError> {
        let mut problem = None;
        let mut channel = self.open_channel().await?;
        for declaration in declarations {
            match declaration.declare(&channel).await {
                Ok(()) => {}
                Err(error) if error.is_refusal() => {
                    channel = self.open_channel().await?;
                    if declaration.exists(&channel).await.is_err() {
                        return Err(error);
                    }
                    // Without the permission to declare, an operator provides the topology.
                    if !matches!(error, SessionError::Forbidden(_)) {
                        problem.get_or_insert_with(|| declaration.problem(&error));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        close_channel(&channel).await?;
        Ok(problem)
    }
}

/// An object of the topology.
enum Declaration<'a> {
    Exchange(&'a str, ExchangeKind),
    Queue(&'a str, FieldTable),
    /// A queue, an exchange, and a routing key.
    Binding(&'a str, &'a str, &'a str),
    /// The absence of a binding of an earlier release. With two bindings, a probe would not show that the one of the
    /// messages is missing, or the reverse.
    NoBinding(&'a str, &'a str, &'a str),
}

impl Declaration<'_> {
    async fn declare(&self, channel: &Channel) -> Result<(), SessionError> {
        match self {
            Self::Exchange(name, kind) => {
                let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
                let declare =
                    channel.exchange_declare((*name).into(), kind.clone(), options, FieldTable::default());
                with_reply_timeout("declare an exchange", declare).await
            }
            Self::Queue(name, arguments) => {
                let options = QueueDeclareOptions { durable: true, ..Default::default() };
                let declare = channel.queue_declare((*name).into(), options, arguments.clone());
                with_reply_timeout("declare a queue", declare).await.map(drop)
            }
            Self::Binding(queue, exchange, routing_key) => {
                let bind = channel.queue_bind(
                    (*queue).into(),
                    (*exchange).into(),
                    (*routing_key).into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                );
                with_reply_timeout("bind a queue", bind).await
            }
            Self::NoBinding(queue, exchange, routing_key) => {
                let unbind = channel.queue_unbind(
                    (*queue).into(),
                    (*exchange).into(),
                    (*routing_key).into(),
                    FieldTable::default(),
                );
                with_reply_timeout("unbind a queue", unbind).await
            }
        }
    }

    /// Returns an error if the object does not exist. AMQP cannot look up a binding, so it counts as existing.
    async fn exists(&self, channel: &Channel) -> Result<(), SessionError> {
        match self {
            Self::Exchange(name, kind) => {
                let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                let declare =
                    channel.exchange_declare((*name).into(), kind.clone(), options, FieldTable::default());
                with_reply_timeout("look up an exchange", declare).await
            }
            Self::Queue(name, _) => {
                let options = QueueDeclareOptions { passive: true, ..Default::default() };
                let declare = channel.queue_declare((*name).into(), options, FieldTable::default());
                with_reply_timeout("look up a queue", declare).await.map(drop)
            }
            Self::Binding(..) | Self::NoBinding(..) => Ok(()),
        }
    }

    /// Returns the problem with an existing object, and its fix.
    fn problem(&self, error: &SessionError) -> String {
        let object = match self {
            Self::Exchange(name, _) => format!("exchange {name}"),
            Self::Queue(name, _) => format!("queue {name}"),
            Self::Binding(queue, exchange, _) | Self::NoBinding(queue, exchange, _) => {
                format!("binding of {queue} to {exchange}")
            }
        };
        format!("the {object} has other settings than this release; delete it when it is empty: {error}")
    }
}

fn quorum_arguments(delivery_limit: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), string_value("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    arguments
}

fn stream_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), string_value("stream"));
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
