//! A minimal AMQP client: publishes persistent, mandatory, confirmed messages; acks a batch at a time.

use std::collections::VecDeque;

use anyhow::ensure;
use contracts::Message;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

/// The largest batch and the prefetch of the services' own consumers.
pub(crate) const BATCH: usize = 256;
const PREFETCH: u16 = 512;

/// A connection with one channel. Dropping it closes the connection.
pub(crate) struct BrokerClient {
    channel: Channel,
    _connection: Connection,
}

impl BrokerClient {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, _connection: connection })
    }

    /// Publishes messages of type `M`, and does not wait for their confirms.
    pub(crate) async fn publish<M: Message>(
        &self,
        bodies: &[&[u8]],
    ) -> anyhow::Result<Vec<PublisherConfirm>> {
        let publishes: FuturesOrdered<_> = bodies.iter().map(|body| self.send::<M>(body)).collect();
        Ok(publishes.try_collect().await?)
    }

    async fn send<M: Message>(&self, body: &[u8]) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel.basic_publish(M::EXCHANGE.into(), M::TYPE.into(), options, body, properties::<M>()).await
    }

    /// Declares a durable queue, and binds it to an exchange under its own name.
    pub(crate) async fn declare_bound_queue(&self, queue: &str, exchange: &str) -> anyhow::Result<()> {
        let arguments = FieldTable::default();
        self.channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments.clone()).await?;
        let options = QueueBindOptions::default();
        self.channel.queue_bind(queue.into(), exchange.into(), queue.into(), options, arguments).await?;
        Ok(())
    }

    /// Publishes a message and waits for its confirm.
    pub(crate) async fn publish_confirmed<M: Message>(&self, body: &[u8]) -> anyhow::Result<()> {
        let confirms = self.publish::<M>(&[body]).await?;
        await_confirms(&mut confirms.into_iter().map(|confirm| (confirm, ())).collect(), 0).await?;
        Ok(())
    }

    pub(crate) async fn consume(&self, queue: &str) -> anyhow::Result<lapin::Consumer> {
        self.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        Ok(self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
    }

    /// Acks all deliveries up to this one.
    pub(crate) async fn ack_up_to(&self, delivery_tag: u64) -> anyhow::Result<()> {
        Ok(self.channel.basic_ack(delivery_tag, BasicAckOptions { multiple: true }).await?)
    }

    pub(crate) async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }
}

/// Returns the same properties that the services' own messages have.
fn properties<M: Message>() -> BasicProperties {
    let id = Uuid::now_v7().to_string();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.into()));
    BasicProperties::default()
        .with_message_id(id.as_str().into())
        .with_type(M::TYPE.into())
        .with_correlation_id(id.into())
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_timestamp(0)
        .with_app_id("bench".into())
        .with_headers(headers)
}

/// Waits for confirms, oldest first, until at most `outstanding` are left.
///
/// Returns the value that is paired with the last confirm received.
pub(crate) async fn await_confirms<T>(
    pending: &mut VecDeque<(PublisherConfirm, T)>,
    outstanding: usize,
) -> anyhow::Result<Option<T>> {
    let mut last = None;
    while pending.len() > outstanding
        && let Some((confirm, value)) = pending.pop_front()
    {
        let confirmation = confirm.await?;
        ensure!(
            confirmation == Confirmation::Ack(None),
            "the broker did not accept a message: {confirmation:?}"
        );
        last = Some(value);
    }
    Ok(last)
}

/// Waits for a delivery. Returns it with those that are available without waiting, up to [`BATCH`].
pub(crate) async fn next_batch(consumer: &mut lapin::Consumer) -> anyhow::Result<Vec<Delivery>> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut next = consumer.next().await;
    while let Some(delivery) = next {
        batch.push(delivery?);
        next = if batch.len() < BATCH { consumer.next().now_or_never().flatten() } else { None };
    }
    ensure!(!batch.is_empty(), "the broker canceled the consumer");
    Ok(batch)
}
