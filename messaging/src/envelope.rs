//! The envelope of an outgoing message: the AMQP basic properties, in their standard meaning.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use contracts::{Message, operations::routing_key};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString},
};
use uuid::Uuid;

use telemetry::{Received, create_span};

pub(crate) const CAUSATION_ID: &str = "causation-id";
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const REPLAY: &str = "replay";

const PERSISTENT: u8 = 2;

/// The properties of an outgoing message.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The id of the message. All copies have the same id, so that readers can detect duplicates.
    pub message_id: Uuid,
    /// The contract, [`contracts::Message::TYPE`]. It decides the routing key.
    pub message_type: Cow<'static, str>,
    /// The id of the flow. The first message of the flow sets it, and later messages copy it.
    pub correlation_id: String,
    /// The `message_id` of the message that caused this one.
    pub causation_id: Option<Uuid>,
    /// The W3C Trace Context of this step.
    pub traceparent: String,
    /// The time of the fact that the flow reports.
    pub timestamp: DateTime<Utc>,
    /// The sending application.
    pub app_id: &'static str,
    /// Whether the message was sent before, so that the time since the fact is not the time of its way.
    pub is_replay: bool,
}

/// An outgoing message.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The exchange to publish to.
    pub exchange: &'static str,
    /// The AMQP properties.
    pub envelope: Envelope,
    /// The body: JSON in UTF-8.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// Returns the routing key on a topic exchange.
    pub(crate) fn routing_key(&self) -> Cow<'_, str> {
        routing_key(&self.envelope.message_type)
    }

    /// Returns the first message of a flow, sent now under a new id.
    #[must_use]
    pub fn first<M: Message>(message: &M, app_id: &'static str) -> Self {
        let message_id = Uuid::now_v7();
        let envelope = Envelope {
            message_id,
            message_type: M::TYPE.into(),
            correlation_id: message_id.to_string(),
            causation_id: None,
            traceparent: create_span(None, M::EXCHANGE),
            timestamp: Utc::now(),
            app_id,
            is_replay: false,
        };
        Self { exchange: M::EXCHANGE, envelope, body: message.to_json().into_bytes() }
    }
}

impl Envelope {
    /// Returns the creation of the message, for links.
    pub(crate) fn created(&self) -> Received<'_> {
        Received { traceparent: Some(&self.traceparent), message_id: Some(&self.message_id) }
    }

    /// Returns the AMQP properties. Their timestamp has whole seconds, and the body carries the exact time.
    pub(crate) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(TRACEPARENT.into(), string_value(&self.traceparent));
        if let Some(cause) = self.causation_id {
            headers.insert(CAUSATION_ID.into(), string_value(&cause.to_string()));
        }
        if self.is_replay {
            headers.insert(REPLAY.into(), AMQPValue::Boolean(true));
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

/// Returns a string as the value of a header or an argument.
pub(crate) fn string_value(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
