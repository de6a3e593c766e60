//! Publishes messages that no consumer can process.

use std::time::Duration;

use anyhow::Context;
use contracts::{CreateCustomer, CustomerRegistered, Message};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use system_tests::{
    TestEnvironment,
    broker_client::{open_channel, publish_mandatory},
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::system::queue_of;

/// The header that identifies a bad message. A dead letter keeps the headers of its message.
pub(crate) const ID_HEADER: &str = "bad-message";

const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Larger than one frame of AMQP, and than any valid message.
const OVERSIZED: usize = 1024 * 1024;

/// A bad message that was published.
#[derive(Debug, Clone)]
pub(crate) struct BadMessage {
    pub(crate) id: String,
    /// Whether the broker has confirmed the message.
    pub(crate) confirmed: bool,
}

/// Publishes one message of each kind, and returns them. If the broker is unavailable, publishes none.
pub(crate) async fn publish_bad_messages(environment: &TestEnvironment) -> Vec<BadMessage> {
    let mut published = Vec::new();
    let Ok((_connection, channel)) = connect(environment).await else { return published };
    for (exchange, message_type, body) in bad_messages() {
        let id = Uuid::now_v7().to_string();
        let confirmation =
            timeout(REPLY_TIMEOUT, publish(&channel, exchange, message_type, &id, &body)).await;
        let confirmed = matches!(confirmation, Ok(Ok(Confirmation::Ack(None))));
        published.push(BadMessage { id, confirmed });
    }
    published
}

/// Opens a channel in confirm mode, as the broker's administrator.
pub(crate) async fn connect(environment: &TestEnvironment) -> anyhow::Result<(Connection, Channel)> {
    timeout(REPLY_TIMEOUT, open_channel(environment)).await.context("the broker does not reply")?
}

/// Returns the exchange, type, and body of each kind.
fn bad_messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let event = json!({
        "customer_id": "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", "name": "A", "email": "a@b",
        "marketing_consent": true, "registered_at": "2026-01-02T03:04:05Z",
    });
    let mut oversized = event.clone();
    oversized["name"] = "x".repeat(OVERSIZED).into();
    let complete = event.to_string().into_bytes();
    let truncated = complete[..complete.len() / 2].to_vec();
    vec![
        (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE, b"\xff\xfenot text".to_vec()),
        (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE, truncated.clone()),
        (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE, oversized.to_string().into_bytes()),
        (CustomerRegistered::EXCHANGE, "web-store.customer-registered.v9", complete),
        (CreateCustomer::EXCHANGE, CreateCustomer::TYPE, truncated),
        (CreateCustomer::EXCHANGE, CreateCustomer::TYPE, b"{}".to_vec()),
        (CreateCustomer::EXCHANGE, "marketing.unheard-of.v1", b"{}".to_vec()),
    ]
}

/// Publishes with the routing key of a bound queue, which may differ from the type.
async fn publish(
    channel: &Channel,
    exchange: &str,
    message_type: &str,
    id: &str,
    body: &[u8],
) -> anyhow::Result<Confirmation> {
    let mut headers = FieldTable::default();
    headers.insert(ID_HEADER.into(), AMQPValue::LongString(id.into()));
    let properties = BasicProperties::default()
        .with_type(message_type.into())
        .with_message_id(id.into())
        .with_delivery_mode(2)
        .with_headers(headers);
    publish_mandatory(channel, exchange, queue_of(exchange).routing_key, properties, body).await
}
