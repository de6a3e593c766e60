//! A received message and its parsing by contract.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use chrono::{DateTime, Utc};
use contracts::Message;
use lapin::{
    message::Delivery,
    types::{AMQPValue, ShortString},
};
use telemetry::{MessageSpan, Received, trace_id};
use uuid::Uuid;

use crate::{
    Rejection,
    dead_letters::{REJECTED_AT, REJECTED_BY, REJECTION_CODE},
    envelope::{REPLAY, TRACEPARENT},
};

/// A received message. Only its consumer can settle it.
#[derive(Debug)]
pub struct Incoming {
    pub(crate) delivery: Delivery,
    /// `None` if the message is not sampled.
    pub(crate) span: Option<MessageSpan>,
    /// The context of the batch, or `None` if no message of it is sampled.
    pub(crate) batch: Option<Arc<str>>,
}

impl From<Delivery> for Incoming {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, span: None, batch: None }
    }
}

impl Incoming {
    /// Returns an outgoing message as its consumer receives it, without a broker.
    #[must_use]
    pub fn from_outgoing(message: &crate::Outgoing) -> Self {
        let crate::Outgoing { exchange, envelope, body } = message;
        let routing_key = message.routing_key().as_ref().into();
        let mut delivery = Delivery::mock(1, (*exchange).into(), routing_key, false, body.clone());
        delivery.properties = envelope.properties();
        Self::from(delivery)
    }

    /// Returns the property `type`, or an empty string if it is missing.
    #[must_use]
    pub fn message_type(&self) -> &str {
        self.delivery.properties.kind().as_ref().map_or("", ShortString::as_str)
    }

    /// Returns the property `message_id`.
    ///
    /// # Errors
    /// Returns [`Rejection::BadEnvelope`] if it is missing or is not a UUID.
    pub fn message_id(&self) -> Result<Uuid, Rejection> {
        let id = self.delivery.properties.message_id().as_ref();
        id.and_then(|id| id.as_str().parse().ok())
            .ok_or_else(|| Rejection::BadEnvelope("message_id must be a UUID".into()))
    }

    /// Returns the property `correlation_id`.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.delivery.properties.correlation_id().as_ref().map(ShortString::as_str)
    }

    /// Returns the property `reply_to`: the routing key under which the sender receives reports.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        self.delivery.properties.reply_to().as_ref().map(ShortString::as_str)
    }

    /// Returns the context of the messages that this one causes: the span of its processing, or its header
    /// `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<Cow<'_, str>> {
        let span = self.span.as_ref().map(|span| span.traceparent().into());
        span.or_else(|| self.header(TRACEPARENT).map(Cow::Borrowed))
    }

    /// Returns the trace id for log lines.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.header(TRACEPARENT).and_then(trace_id)
    }

    /// Returns the context of the batch for the spans of its statements, if any of its messages is sampled.
    #[must_use]
    pub fn batch_traceparent(&self) -> Option<&str> {
        self.batch.as_deref()
    }

    /// Returns the creation of the message, for links.
    pub(crate) fn received(&self) -> Received<'_> {
        let message_id = self.delivery.properties.message_id().as_ref();
        let message_id = message_id.map(|id| id as &dyn Display);
        Received { traceparent: self.header(TRACEPARENT), message_id }
    }

    /// Returns the reason code of a dead letter.
    ///
    /// A consumer sets its own [`Rejection::code`]. If the broker moved the message, the code is the broker's:
    /// `delivery_limit`, `expired`, or `maxlen`. <https://www.rabbitmq.com/docs/dlx#effects>
    #[must_use]
    pub fn rejection_code(&self) -> Option<&str> {
        self.header(REJECTION_CODE).or_else(|| self.header("x-first-death-reason"))
    }

    /// Returns the time at which a dead letter was rejected: in RFC 3339 by a consumer, in whole seconds by the broker.
    #[must_use]
    pub fn rejected_at(&self) -> Option<DateTime<Utc>> {
        if let Some(time) = self.header(REJECTED_AT) {
            return DateTime::parse_from_rfc3339(time).ok().map(|time| time.to_utc());
        }
        let headers = self.delivery.properties.headers().as_ref()?;
        let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
        // The broker adds the last death at the start.
        let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
        let AMQPValue::Timestamp(seconds) = death.inner().get("time")? else { return None };
        DateTime::from_timestamp((*seconds).try_into().ok()?, 0)
    }

    /// Returns the service and the release that rejected a dead letter, such as `marketing 0.1.0`.
    #[must_use]
    pub fn rejected_by(&self) -> Option<&str> {
        self.header(REJECTED_BY)
    }

    /// Returns whether the header `replay` says that the message was sent before.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        let headers = self.delivery.properties.headers().as_ref();
        headers.is_some_and(|headers| headers.inner().get(REPLAY) == Some(&AMQPValue::Boolean(true)))
    }

    /// Returns a header that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.delivery.properties.headers().as_ref()?;
        match headers.inner().get(name)? {
            AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok(),
            AMQPValue::ShortString(value) => Some(value.as_str()),
            _ => None,
        }
    }

    /// Returns the property `timestamp`.
    #[must_use]
    pub fn timestamp(&self) -> Option<DateTime<Utc>> {
        let seconds = (*self.delivery.properties.timestamp())?;
        DateTime::from_timestamp(seconds.try_into().ok()?, 0)
    }

    /// Returns the body as raw bytes, which may be malformed.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// Parses the body by the contract `M`.
    ///
    /// # Errors
    /// Returns [`Rejection::UnknownType`] or [`Rejection::UnknownVersion`] if the message has another type.
    /// Returns [`Rejection::NotJson`] or [`Rejection::WrongShape`] if the body is malformed.
    pub fn parse<M: Message>(&self) -> Result<M, Rejection> {
        let found = self.message_type();
        if found == M::TYPE {
            // JSON has no byte order mark, but some senders write one (RFC 8259, section 8.1).
            Ok(serde_json::from_slice(self.body().strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.body()))?)
        } else if unversioned(found).is_some_and(|name| Some(name) == unversioned(M::TYPE)) {
            Err(Rejection::UnknownVersion { found: found.into(), known: M::TYPE })
        } else {
            Err(Rejection::UnknownType(found.into()))
        }
    }
}

/// Returns a message type without its major version, or `None` if it has no version.
fn unversioned(message_type: &str) -> Option<&str> {
    let (name, version) = message_type.rsplit_once(".v")?;
    version.parse::<u32>().is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use contracts::CreateCustomer;
    use uuid::Uuid;

    use super::Incoming;
    use crate::{Envelope, Outgoing, Rejection};

    fn message(body: &[u8]) -> Incoming {
        let envelope = Envelope {
            message_id: Uuid::nil(),
            message_type: "marketing.create-customer.v1".into(),
            correlation_id: String::new(),
            causation_id: None,
            traceparent: String::new(),
            timestamp: Utc::now(),
            app_id: "test",
            is_replay: false,
        };
        Incoming::from_outgoing(&Outgoing { exchange: "test", envelope, body: body.to_owned() })
    }

    #[test]
    fn byte_order_mark_before_json_is_skipped() {
        let sample = include_str!("../../contracts/samples/marketing.create-customer.v1.json");
        let parse = |text: String| message(text.as_bytes()).parse::<CreateCustomer>();
        assert_eq!(parse(format!("\u{feff}{sample}")), parse(sample.to_owned()));
        assert!(parse(sample.to_owned()).is_ok());
        let two_marks = parse(format!("\u{feff}\u{feff}{sample}"));
        assert!(matches!(two_marks, Err(Rejection::NotJson(_))), "{two_marks:?}");
    }
}
