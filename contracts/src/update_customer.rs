//! The command `UpdateCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// Bring this customer in Marketing's list up to this version.
///
/// # When it is sent
/// By the source of a customer, when the customer's details have changed there.
///
/// # What holds afterwards
/// Nothing yet, because a command is a request. Once Marketing has carried it out, its list contains the
/// customer as of this version or a higher one.
///
/// # Not stated
/// Which details have changed. Marketing sends no reply. It keeps rejected commands with the reason among its
/// dead letters, for an operator.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id`. If Marketing already has this
/// version or a higher one, nothing changes. If the customer is not in the list yet, Marketing adds the
/// customer. The overtaken `CreateCustomer`, which is version 1, then has no effect. After a `ForgetCustomer` for this
/// `customer_id`, the command has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct UpdateCustomer {
    /// The customer's identity, as in `CreateCustomer`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The number of the customer's state at the source. The state in `CreateCustomer` is 1, and each change
    /// has a higher number.
    #[cfg_attr(feature = "generated", schemars(
        range(min = 2, max = 2_147_483_647),
        example = 2,
        extend("x-personal-data" = "linked"),
    ))]
    pub version: u32,
    /// The name by which to address the customer, in any script. It has no control characters, and it is not
    /// white space alone.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 200),
        regex(pattern = crate::patterns::LINE),
        example = "Zoë Ó Dálaigh-Wáng 王",
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
    /// Whether the customer agrees to receive marketing messages at this address.
    #[cfg_attr(feature = "generated", schemars(example = false, extend("x-personal-data" = "linked")))]
    pub email_opt_in: bool,
    /// The application that the customer comes from, as in `CreateCustomer`.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 50),
        regex(pattern = "^[a-z0-9-]+$"),
        example = "web-store",
        extend("x-personal-data" = "none"),
    ))]
    pub source: String,
    /// The time at which the person became a customer of the source, as in `CreateCustomer`.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-01-02T03:04:05.000600Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_since: DateTime<Utc>,
    /// The time at which the details changed at the source.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-02-03T04:05:06.000700Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub changed_at: DateTime<Utc>,
}

impl Message for UpdateCustomer {
    const TYPE: &'static str = "marketing.update-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_COMMANDS;
}
