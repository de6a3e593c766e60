//! The command `ForgetCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// Remove this customer from Marketing's list, permanently.
///
/// # When it is sent
/// By the source of a customer, when the customer has been erased there.
///
/// # What holds afterwards
/// Nothing yet, because a command is a request. Once Marketing has carried it out, its list does not contain the
/// customer, and Marketing has no name and no address of the customer. It keeps the `customer_id` without them. From
/// then on, `CreateCustomer` and `UpdateCustomer` have no effect for this `customer_id`.
///
/// # Not stated
/// The reason. Marketing sends no reply. It keeps rejected commands with the reason among its dead letters, for an
/// operator.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id`. The command may arrive before the
/// customer's `CreateCustomer`, which then has no effect. A second command has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct ForgetCustomer {
    /// The customer's identity, as in `CreateCustomer`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The application that the customer comes from, as in `CreateCustomer`.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 50),
        regex(pattern = "^[a-z0-9-]+$"),
        example = "web-store",
        extend("x-personal-data" = "none"),
    ))]
    pub source: String,
    /// The time at which the source erased the customer.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-03-04T05:06:08.000900Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub erased_at: DateTime<Utc>,
}

impl Message for ForgetCustomer {
    const TYPE: &'static str = "marketing.forget-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_COMMANDS;
}
