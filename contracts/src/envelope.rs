//! The envelope of every message: the AMQP 0-9-1 basic properties, in their standard meaning.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The AMQP basic properties of a message.
///
/// The applications of this repository always write all of them that apply. Other writers may omit the optional ones,
/// and readers accept messages without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct Properties {
    /// The identity of the message. Every copy of the message has it, and no other message has it.
    #[cfg_attr(feature = "generated", schemars(
        example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11",
        extend("x-personal-data" = "none"),
    ))]
    pub message_id: Uuid,
    /// The contract and its major version. On a topic exchange, it is also the routing key.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "generated", schemars(
        length(max = 255),
        regex(pattern = r"^[a-z0-9-]+\.[a-z0-9-]+\.v[1-9]\d*$"),
        example = "web-store.customer-registered.v1",
        extend("x-personal-data" = "none"),
    ))]
    pub message_type: String,
    /// The format of the body. It is always `application/json`, in UTF-8 as RFC 8259 requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        regex(pattern = "^application/json$"),
        example = "application/json",
        extend("x-personal-data" = "none"),
    ))]
    pub content_type: Option<String>,
    /// Always 2, which makes the broker keep the message on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "u8",
        range(min = 2, max = 2),
        example = 2,
        extend("x-personal-data" = "none"),
    ))]
    pub delivery_mode: Option<u8>,
    /// The flow that the message belongs to. It is the `message_id` of the flow's first message, unless the
    /// sender of that message chose another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        length(max = 255),
        example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11",
        extend("x-personal-data" = "none"),
    ))]
    pub correlation_id: Option<String>,
    /// The time of the fact that the flow reports. The body carries the exact time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "u64",
        example = 1_767_323_045,
        extend("x-unit" = "seconds since 1970-01-01T00:00:00Z", "x-personal-data" = "none"),
    ))]
    pub timestamp: Option<u64>,
    /// The application that sent the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        length(max = 255),
        example = "web-store",
        extend("x-personal-data" = "none"),
    ))]
    pub app_id: Option<String>,
    /// The routing key under which the sender of a command receives reports. Only commands whose contract names a
    /// report use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        length(min = 1, max = 255),
        example = "loyalty.replay-progress",
        extend("x-personal-data" = "none"),
    ))]
    pub reply_to: Option<String>,
    /// The values for which AMQP defines no property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(with = "Headers", extend("x-personal-data" = "none")))]
    pub headers: Option<Headers>,
}

/// The headers of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct Headers {
    /// The trace step that sent the message, in the format of W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        regex(pattern = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        extend("x-personal-data" = "none"),
    ))]
    pub traceparent: Option<String>,
    /// The `message_id` of the message that caused this one. The first message of a flow does not have it.
    #[serde(rename = "causation-id", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "Uuid",
        example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11",
        extend("x-personal-data" = "none"),
    ))]
    pub causation_id: Option<Uuid>,
    /// Whether the message was sent before and is sent again, for example at the request of a subscriber. Only
    /// measurements of the time that a message takes need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(with = "bool", example = true, extend("x-personal-data" = "none")))]
    pub replay: Option<bool>,
}
