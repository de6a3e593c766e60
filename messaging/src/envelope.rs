//! What envelopes an outgoing message: the AMQP basic properties, under their standard meaning.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString},
};
use uuid::Uuid;

pub(crate) const CAUSATION_ID: &str = "causation-id";
pub(crate) const TRACEPARENT: &str = "traceparent";

const PERSISTENT: u8 = 2;

/// The properties of a message that is to be sent.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The same for every copy of this message, so that whoever gets it twice can tell.
    pub message_id: Uuid,
    /// The contract, [`contracts::Message::TYPE`]; also the routing key.
    pub message_type: Cow<'static, str>,
    /// The one that the first message of the flow got.
    pub correlation_id: String,
    /// The `message_id` of the message that caused this one.
    pub causation_id: Option<Uuid>,
    /// W3C Trace Context.
    pub traceparent: String,
    /// When what it tells of took place.
    pub timestamp: DateTime<Utc>,
    /// The application that sends it.
    pub app_id: &'static str,
}

/// A message that is to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The exchange to publish to.
    pub exchange: &'static str,
    /// Its envelope.
    pub envelope: Envelope,
    /// Its body: JSON, UTF-8.
    pub body: Vec<u8>,
}

impl Envelope {
    /// AMQP's timestamp has whole seconds; the body carries the exact time.
    pub(crate) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(TRACEPARENT.into(), text(&self.traceparent));
        if let Some(cause) = self.causation_id {
            headers.insert(CAUSATION_ID.into(), text(&cause.to_string()));
        }
        BasicProperties::default()
            .with_message_id(self.message_id.to_string().into())
            .with_type(self.message_type.as_ref().into())
            .with_correlation_id(self.correlation_id.as_str().into())
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_timestamp(self.timestamp.timestamp().try_into().unwrap_or(0))
            .with_app_id(self.app_id.into())
            .with_headers(headers)
    }
}

/// A header's value.
pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
