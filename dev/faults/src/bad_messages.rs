//! What others put on the broker: messages that nobody can handle, and every message a second time.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::topology::Queue;
use contracts::{CreateCustomer, CustomerRegistered, Message};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::QUEUES;

/// A dead letter keeps its headers, so this one tells which bad message it was.
pub(super) const MARK: &str = "bad-message";

const ANSWER: Duration = Duration::from_secs(5);

/// Larger than one frame of AMQP, and than any honest message.
const OVERSIZED: usize = 1024 * 1024;

/// Publishes one of each kind of bad message; tells the mark of each, and whether the broker has taken it.
pub(super) async fn publish_bad_messages(broker: &str) -> Vec<(String, bool)> {
    let mut marks = Vec::new();
    let connected = timeout(ANSWER, connect(broker)).await;
    let Ok(Ok((_connection, channel))) = connected else { return marks };
    for (exchange, message_type, body) in bad_messages() {
        let mark = uuid::Uuid::now_v7().to_string();
        let sent = timeout(ANSWER, publish(&channel, exchange, message_type, &mark, &body)).await;
        marks.push((mark, matches!(sent, Ok(Ok(true)))));
    }
    marks
}

fn bad_messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let event = json!({
        "customer_id": "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", "name": "A", "email": "a@b",
        "marketing_consent": true, "registered_at": "2026-01-02T03:04:05Z",
    });
    let mut oversized = event.clone();
    oversized["name"] = "x".repeat(OVERSIZED).into();
    let (events, commands) = (CustomerRegistered::EXCHANGE, CreateCustomer::EXCHANGE);
    let whole = event.to_string().into_bytes();
    let truncated = whole[..whole.len() / 2].to_vec();
    vec![
        (events, CustomerRegistered::TYPE, b"\xff\xfenot text".to_vec()),
        (events, CustomerRegistered::TYPE, truncated.clone()),
        (events, CustomerRegistered::TYPE, oversized.to_string().into_bytes()),
        (events, "web-store.customer-registered.v9", whole),
        (commands, CreateCustomer::TYPE, truncated),
        (commands, CreateCustomer::TYPE, b"{}".to_vec()),
        (commands, "marketing.unheard-of.v1", b"{}".to_vec()),
    ]
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    message_type: &str,
    mark: &str,
    body: &[u8],
) -> lapin::Result<bool> {
    let mut headers = FieldTable::default();
    headers.insert(MARK.into(), AMQPValue::LongString(LongString::from(mark)));
    let properties = BasicProperties::default()
        .with_type(message_type.into())
        .with_message_id(mark.into())
        .with_delivery_mode(2)
        .with_headers(headers);
    // Under the key of a bound queue, whatever the type says.
    let key = queue_of(exchange).routing_key;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
    Ok(sent.await? == Confirmation::Ack(None))
}

/// For a while, puts a copy of every message that passes an exchange straight into its consumer's queue.
pub(super) async fn deliver_twice(broker: &str, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    let (_connection, channel) = timeout(ANSWER, connect(broker)).await.context("the broker")??;
    let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?;
    for Queue { exchange, routing_key, .. } in QUEUES {
        let options = QueueBindOptions::default();
        let name = queue.name().clone();
        channel.queue_bind(name, exchange.into(), routing_key.into(), options, FieldTable::default()).await?;
    }
    let options = BasicConsumeOptions::default();
    let mut passing =
        channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default()).await?;
    while let Ok(Some(delivery)) = timeout_at(until, passing.next()).await {
        let delivery = delivery?;
        let queue = queue_of(delivery.exchange.as_str()).name;
        let options = BasicPublishOptions::default();
        let copy = delivery.properties.clone();
        channel.basic_publish("".into(), queue.into(), options, &delivery.data, copy).await?;
        channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
    }
    Ok(())
}

async fn connect(broker: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

fn queue_of(exchange: &str) -> Queue {
    let [events, commands] = QUEUES;
    if exchange == events.exchange { events } else { commands }
}
