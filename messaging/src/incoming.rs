//! A message that was received, read through its contract.

use chrono::{DateTime, Utc};
use contracts::Message;
use lapin::{
    message::Delivery,
    types::{AMQPValue, ShortString},
};
use uuid::Uuid;

use crate::{Rejection, dead_letters::REJECTION_CODE, envelope::TRACEPARENT};

/// A received message. Only its consumer can settle it.
#[derive(Debug)]
pub struct Incoming {
    pub(crate) delivery: Delivery,
}

impl Incoming {
    /// As if this message had been sent and received.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn of(message: &crate::Outgoing) -> Self {
        let crate::Outgoing { exchange, envelope, body } = message;
        let routing_key = envelope.message_type.as_ref().into();
        let mut delivery = Delivery::mock(1, (*exchange).into(), routing_key, false, body.clone());
        delivery.properties = envelope.properties();
        Self { delivery }
    }

    /// The property `type`; empty where there is none.
    #[must_use]
    pub fn message_type(&self) -> &str {
        self.delivery.properties.kind().as_ref().map_or("", ShortString::as_str)
    }

    /// The property `message_id`.
    ///
    /// # Errors
    /// [`Rejection::BadEnvelope`] where it is missing or not a UUID.
    pub fn message_id(&self) -> Result<Uuid, Rejection> {
        let id = self.delivery.properties.message_id().as_ref();
        id.and_then(|id| id.as_str().parse().ok())
            .ok_or_else(|| Rejection::BadEnvelope("message_id has to be a UUID".into()))
    }

    /// The property `correlation_id`.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.delivery.properties.correlation_id().as_ref().map(ShortString::as_str)
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(TRACEPARENT)
    }

    /// Why this is a dead letter: our own [`Rejection::code`] or, where the broker moved it, the broker's
    /// word: `delivery_limit`, `expired`, `maxlen`. <https://www.rabbitmq.com/docs/dlx#effects>
    #[must_use]
    pub fn rejection_code(&self) -> Option<&str> {
        self.header(REJECTION_CODE).or_else(|| self.header("x-first-death-reason"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.delivery.properties.headers().as_ref()?;
        match headers.inner().get(name)? {
            AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok(),
            AMQPValue::ShortString(value) => Some(value.as_str()),
            _ => None,
        }
    }

    /// The property `timestamp`.
    #[must_use]
    pub fn timestamp(&self) -> Option<DateTime<Utc>> {
        let seconds = (*self.delivery.properties.timestamp())?;
        DateTime::from_timestamp(seconds.try_into().ok()?, 0)
    }

    /// The body, whatever it is.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// The body, as the contract `M`.
    ///
    /// # Errors
    /// Another type or version, not JSON, or not of the contract's shape.
    pub fn parse<M: Message>(&self) -> Result<M, Rejection> {
        let found = self.message_type();
        if found == M::TYPE {
            Ok(serde_json::from_slice(self.body())?)
        } else if unversioned(found).is_some_and(|name| Some(name) == unversioned(M::TYPE)) {
            Err(Rejection::UnknownVersion { found: found.into(), known: M::TYPE })
        } else {
            Err(Rejection::UnknownType(found.into()))
        }
    }
}

/// A message type without its major version, if it has one.
fn unversioned(message_type: &str) -> Option<&str> {
    let (name, version) = message_type.rsplit_once(".v")?;
    version.parse::<u32>().is_ok().then_some(name)
}
