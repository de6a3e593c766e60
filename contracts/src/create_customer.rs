//! The command `CreateCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// Add this customer to Marketing's list.
///
/// # When it is sent
/// By any application whose customer Marketing should know, once the person is a customer there.
///
/// # What holds afterwards
/// Nothing yet, because a command is a request. Once Marketing has carried it out, its list contains this
/// customer. If the list already contains this `customer_id`, that customer stays unchanged. A second request
/// therefore has no effect.
///
/// # Not stated
/// The application that makes the request, apart from `source`. Marketing sends no reply. It keeps rejected
/// commands with the reason among its dead letters, for an operator.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id`. Each `customer_id` makes one
/// customer, regardless of the `message_id`. After a `ForgetCustomer` for this `customer_id`, the command has no
/// effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct CreateCustomer {
    /// The customer's identity, assigned by the source. Sources assign UUIDs that no other source assigns
    /// (RFC 9562).
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The name by which to address the customer, in any script. It has no control characters, and it is not
    /// white space alone.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 200),
        regex(pattern = crate::patterns::LINE),
        example = "Zoë Ó Dálaigh 王",
        extend("x-personal-data" = "direct"),
    ))]
    pub full_name: String,
    /// The address to write to. It has one `@` with at least one character before and after it. It has no
    /// white space and no control characters.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 3, max = 254),
        regex(pattern = crate::patterns::EMAIL),
        example = "zoe@example.org",
        extend("x-personal-data" = "direct"),
    ))]
    pub email_address: String,
    /// Whether the customer agreed to receive marketing messages at this address.
    #[cfg_attr(feature = "generated", schemars(example = true, extend("x-personal-data" = "linked")))]
    pub email_opt_in: bool,
    /// The application that the customer comes from.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 50),
        regex(pattern = "^[a-z0-9-]+$"),
        example = "web-store",
        extend("x-personal-data" = "none"),
    ))]
    pub source: String,
    /// The time at which the person became a customer of the source.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-01-02T03:04:05.000600Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_since: DateTime<Utc>,
}

impl Message for CreateCustomer {
    const TYPE: &'static str = "marketing.create-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_COMMANDS;
}
