//! Copies of received messages, with which operators move and repair dead letters.

use std::fmt::Write;

use lapin::{
    BasicProperties, Confirmation,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Map, Value, json};

use crate::{
    Incoming, PublishOutcome, Session, SessionError,
    dead_letters::REJECTION_HEADERS,
    envelope::{REPLAY, string_value},
    publisher::Publication,
};

/// Headers that the broker writes when it dead-letters a message.
/// <https://www.rabbitmq.com/docs/dlx#effects>
const BROKER_REJECTION_HEADERS: [&str; 7] = [
    "x-death",
    "x-first-death-reason",
    "x-first-death-queue",
    "x-first-death-exchange",
    "x-last-death-reason",
    "x-last-death-queue",
    "x-last-death-exchange",
];

/// Headers with which a quorum queue counts the deliveries of a message.
/// <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const COUNT_HEADERS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A message with the properties and the body of another one.
#[derive(Debug, Clone)]
pub struct MessageCopy {
    properties: BasicProperties,
    body: Vec<u8>,
}

impl Incoming {
    /// Returns the original of a dead letter: the message as its consumer rejected it, without counts of deliveries, and
    /// marked as sent again.
    ///
    /// An expiration or a foreign `user_id` of the original stays a header, because the broker would delete or refuse the
    /// message again.
    #[must_use]
    pub fn original(&self) -> MessageCopy {
        let mut copy = self.copy();
        copy.remove_headers(&REJECTION_HEADERS);
        copy.remove_headers(&BROKER_REJECTION_HEADERS);
        copy.set_header(REPLAY, AMQPValue::Boolean(true));
        copy
    }

    /// Returns a copy with all properties, for another place.
    #[must_use]
    pub fn copy(&self) -> MessageCopy {
        let properties = self.delivery.properties.clone();
        let mut copy = MessageCopy { properties, body: self.body().to_owned() };
        copy.remove_headers(&COUNT_HEADERS);
        copy
    }

    /// Returns the headers as JSON. A value that is not text or a number has the form `{"hex": …}`.
    ///
    /// Equal headers give the same text. The broker's counts of deliveries are not part of it.
    #[must_use]
    pub fn headers_as_json(&self) -> Value {
        let headers = self.delivery.properties.headers().as_ref();
        let counted = |name: &str| COUNT_HEADERS.contains(&name);
        headers.map_or_else(|| json!({}), |headers| table_as_json(headers, counted))
    }

    /// Returns the other properties as JSON, those that the message has.
    #[must_use]
    pub fn properties_as_json(&self) -> Value {
        let properties = &self.delivery.properties;
        let text = |value: &Option<ShortString>| value.as_ref().map(|value| json!(value.as_str()));
        let fields = [
            ("app_id", text(properties.app_id())),
            ("content_encoding", text(properties.content_encoding())),
            ("content_type", text(properties.content_type())),
            ("correlation_id", text(properties.correlation_id())),
            ("delivery_mode", properties.delivery_mode().map(|mode| json!(mode))),
            ("expiration", text(properties.expiration())),
            ("message_id", text(properties.message_id())),
            ("priority", properties.priority().map(|priority| json!(priority))),
            ("reply_to", text(properties.reply_to())),
            ("timestamp", properties.timestamp().map(|time| json!(time))),
            ("type", text(properties.kind())),
            ("user_id", text(properties.user_id())),
        ];
        let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(present.collect())
    }

    /// Returns the number of failed deliveries, or 0 before the first one.
    #[must_use]
    pub fn failed_deliveries(&self) -> u64 {
        let headers = self.delivery.properties.headers().as_ref();
        let count = headers.and_then(|headers| headers.inner().get(COUNT_HEADERS[0]));
        count.and_then(|count| value_as_json(count).as_u64()).unwrap_or(0)
    }
}

impl MessageCopy {
    /// Creates a JSON message outside all contracts.
    #[must_use]
    pub fn new(body: Vec<u8>) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_headers(FieldTable::default());
        Self { properties, body }
    }

    /// Returns the copy with another body.
    #[must_use]
    pub fn with_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    /// Returns the copy with a text header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.set_header(name, string_value(value));
        self
    }

    /// Returns the copy without some headers.
    #[must_use]
    pub fn without_headers(mut self, names: &[&str]) -> Self {
        self.remove_headers(names);
        self
    }

    /// Returns the copy as its consumer receives it, without a broker.
    #[must_use]
    pub fn received(&self) -> Incoming {
        let mut delivery = lapin::message::Delivery::mock(1, "".into(), "".into(), false, self.body.clone());
        delivery.properties = self.properties.clone();
        Incoming::from(delivery)
    }

    fn set_header(&mut self, name: &str, value: AMQPValue) {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(name.into(), value);
        self.properties = self.properties.clone().with_headers(headers);
    }

    fn remove_headers(&mut self, names: &[&str]) {
        let Some(headers) = self.properties.headers() else { return };
        let mut kept = FieldTable::default();
        for (name, value) in headers {
            if !names.contains(&name.as_str()) {
                kept.insert(name.clone(), value.clone());
            }
        }
        self.properties = self.properties.clone().with_headers(kept);
    }
}

impl Session {
    /// Publishes copies on a direct exchange, each with its routing key, and waits for all confirms. Returns
    /// [`PublishOutcome::Confirmed`] only if the broker has taken all of them.
    ///
    /// # Errors
    /// Returns an error if the session broke. The broker may have taken any of the messages.
    pub async fn publish_copies(
        &self,
        exchange: &str,
        copies: &[(String, MessageCopy)],
    ) -> Result<PublishOutcome, SessionError> {
        let publications = copies.iter().map(|(routing_key, copy)| Publication {
            exchange,
            routing_key: routing_key.as_str().into(),
            properties: copy.properties.clone(),
            body: &copy.body,
        });
        let confirmations = self.publish_all(publications).await?;
        // A copy may have no id of its own, so a return cannot be attributed to one of them.
        let outcome = confirmations.iter().map(|confirmation| match confirmation {
            Confirmation::Ack(None) => PublishOutcome::Confirmed,
            Confirmation::Ack(Some(_)) => PublishOutcome::Returned,
            Confirmation::Nack(_) | Confirmation::NotRequested => PublishOutcome::Nacked,
        });
        let refused = outcome.into_iter().find(|outcome| *outcome != PublishOutcome::Confirmed);
        Ok(refused.unwrap_or(PublishOutcome::Confirmed))
    }
}

fn table_as_json(table: &FieldTable, skip: impl Fn(&str) -> bool) -> Value {
    let entries = table.inner().iter().filter(|(name, _)| !skip(name.as_str()));
    Value::Object(
        entries.map(|(name, value)| (name.to_string(), value_as_json(value))).collect::<Map<_, _>>(),
    )
}

fn value_as_json(value: &AMQPValue) -> Value {
    let bytes = |bytes: &[u8]| {
        let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        json!({ "hex": digits })
    };
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!({ "scale": value.scale, "value": value.value }),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => json!(text),
            Err(_) => bytes(value.as_bytes()),
        },
        AMQPValue::ByteArray(value) => bytes(value.as_slice()),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(value_as_json).collect(),
        AMQPValue::FieldTable(table) => table_as_json(table, |_| false),
        AMQPValue::Void => Value::Null,
    }
}
