//! What every message travels in: the AMQP 0-9-1 basic properties, under their standard meaning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The basic properties of a message.
///
/// The applications of this repository always write all of them. Another writer may leave out those that are
/// not required; a reader does without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Properties {
    /// The same for every copy of a message and for no other message.
    #[schemars(example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11", extend("x-personal-data" = "none"))]
    pub message_id: Uuid,
    /// The contract and its major version. It is also the routing key.
    #[serde(rename = "type")]
    #[schemars(length(max = 255), regex(pattern = r"^[a-z0-9-]+\.[a-z0-9-]+\.v[1-9]\d*$"))]
    #[schemars(example = "web-store.customer-registered.v1", extend("x-personal-data" = "none"))]
    pub message_type: String,
    /// What the body is: always `application/json`, and UTF-8, as JSON is (RFC 8259).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^application/json$"))]
    #[schemars(example = "application/json", extend("x-personal-data" = "none"))]
    pub content_type: Option<String>,
    /// Always 2: the broker keeps the message on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u8", range(min = 2, max = 2))]
    #[schemars(example = 2, extend("x-personal-data" = "none"))]
    pub delivery_mode: Option<u8>,
    /// The flow that the message belongs to: the `message_id` of its first message, unless that one's sender
    /// chose something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 255))]
    #[schemars(example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11", extend("x-personal-data" = "none"))]
    pub correlation_id: Option<String>,
    /// When what the flow tells of took place. The body carries the exact time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", example = 1_767_323_045)]
    #[schemars(extend("x-unit" = "seconds since 1970-01-01T00:00:00Z", "x-personal-data" = "none"))]
    pub timestamp: Option<u64>,
    /// The application that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 255))]
    #[schemars(example = "web-store", extend("x-personal-data" = "none"))]
    pub app_id: Option<String>,
    /// What AMQP has no property for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Headers", extend("x-personal-data" = "none"))]
    pub headers: Option<Headers>,
}

/// The headers of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Headers {
    /// The step of a trace that sent the message, by W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))]
    #[schemars(example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    #[schemars(extend("x-personal-data" = "none"))]
    pub traceparent: Option<String>,
    /// The `message_id` of the message that caused this one. The first message of a flow has none.
    #[serde(rename = "causation-id", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Uuid", example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11")]
    #[schemars(extend("x-personal-data" = "none"))]
    pub causation_id: Option<Uuid>,
}
