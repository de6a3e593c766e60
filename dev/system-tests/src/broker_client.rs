//! What several test files need: messages put onto the broker by somebody else.

use crate::TestEnvironment;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

/// An administrator's channel, in confirm mode.
pub async fn channel(site: &TestEnvironment) -> (Connection, Channel) {
    let url = site.broker_url("admin");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// Properties as our own messages have them.
pub fn properties(message_type: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("from".into(), lapin::types::AMQPValue::LongString("a test".into()));
    BasicProperties::default()
        .with_type(message_type.into())
        .with_message_id("01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".into())
        .with_headers(headers)
}

/// Publishes a message that has to be taken.
pub async fn publish(channel: &Channel, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
    assert_eq!(send(channel, exchange, key, properties, body).await, Confirmation::Ack(None));
}

/// Publishes a message; what the broker says to it.
pub async fn send(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) -> Confirmation {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
    sent.await.unwrap()
}
