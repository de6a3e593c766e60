//! A minimal client of the broker: persistent, mandatory, confirmed; consumed with one ack for a batch.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use contracts::Message;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};
use uuid::Uuid;

/// As our consumers: the most that is taken at once, and the most that is unsettled.
pub(super) const BATCH: usize = 256;
const PREFETCH: u16 = 512;

/// A connection with one channel. It is closed when this is dropped.
pub(super) struct Broker {
    channel: Channel,
    _connection: Connection,
}

impl Broker {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, _connection: connection })
    }

    /// Sends messages of this contract all at once, and does not wait for their confirms.
    pub(super) async fn publish<M: Message>(&self, bodies: &[&[u8]]) -> Result<Vec<PublisherConfirm>> {
        let sending: FuturesOrdered<_> = bodies.iter().map(|body| self.send::<M>(body)).collect();
        Ok(sending.try_collect().await?)
    }

    async fn send<M: Message>(&self, body: &[u8]) -> lapin::Result<PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel.basic_publish(M::EXCHANGE.into(), M::TYPE.into(), options, body, properties::<M>()).await
    }

    pub(super) async fn publish_and_wait<M: Message>(&self, body: &[u8]) -> Result<()> {
        let mut pending =
            self.publish::<M>(&[body]).await?.into_iter().map(|confirm| (confirm, ())).collect();
        settle(&mut pending, 0).await?;
        Ok(())
    }

    pub(super) async fn consume(&self, queue: &str) -> Result<lapin::Consumer> {
        self.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        Ok(self.channel.basic_consume(queue.into(), "".into(), options, arguments).await?)
    }

    /// Settles everything up to this delivery.
    pub(super) async fn ack(&self, delivery_tag: u64) -> Result<()> {
        Ok(self.channel.basic_ack(delivery_tag, BasicAckOptions { multiple: true }).await?)
    }

    pub(super) async fn purge(&self, queue: &str) -> Result<()> {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }
}

/// As our own messages have them.
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

/// Waits until no more than so many confirms are outstanding, the oldest first; what came with the last of
/// those that are in.
pub(super) async fn settle<T>(
    pending: &mut VecDeque<(PublisherConfirm, T)>,
    outstanding: usize,
) -> Result<Option<T>> {
    let mut last = None;
    while pending.len() > outstanding
        && let Some((confirm, with)) = pending.pop_front()
    {
        let confirmation = confirm.await?;
        ensure!(
            confirmation == Confirmation::Ack(None),
            "the broker did not take a message: {confirmation:?}"
        );
        last = Some(with);
    }
    Ok(last)
}

/// Waits for a delivery, and takes what else is there.
pub(super) async fn next_batch(consumer: &mut lapin::Consumer) -> Result<Vec<Delivery>> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut next = consumer.next().await;
    while let Some(delivery) = next {
        batch.push(delivery?);
        next = if batch.len() < BATCH { consumer.next().now_or_never().flatten() } else { None };
    }
    ensure!(!batch.is_empty(), "the broker cancelled the consumer");
    Ok(batch)
}
