//! An AMQP client that publishes messages as another application would.

use anyhow::ensure;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};

use crate::TestEnvironment;

/// Opens an administrator's channel in confirm mode. Dropping the connection closes the channel.
///
/// # Errors
/// Returns an error if the broker is unavailable.
pub async fn open_channel(environment: &TestEnvironment) -> anyhow::Result<(Connection, Channel)> {
    let url = environment.broker_url("admin");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// Returns properties with the message type, a fixed message id, and one header.
#[must_use]
pub fn properties(message_type: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("from".into(), AMQPValue::LongString("a test".into()));
    BasicProperties::default()
        .with_type(message_type.into())
        .with_message_id("01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".into())
        .with_headers(headers)
}

/// Publishes a message that at least one queue must accept.
///
/// # Errors
/// Returns an error if the broker returns or nacks the message, or is unavailable.
pub async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) -> anyhow::Result<()> {
    let confirmation = publish_mandatory(channel, exchange, key, properties, body).await?;
    ensure!(confirmation == Confirmation::Ack(None), "the message is not accepted: {confirmation:?}");
    Ok(())
}

/// Publishes a message as mandatory and returns the broker's confirmation.
///
/// # Errors
/// Returns an error if the broker is unavailable.
pub async fn publish_mandatory(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) -> anyhow::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
    Ok(sent.await?)
}
