//! The command `UpdateCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, patterns, timestamp, topology};

/// Have this customer in Marketing's list as they are since this version.
///
/// # Sent
/// By the source of a customer, when their details have changed there.
///
/// # True from then on
/// Nothing yet: it is a request. Once Marketing has carried it out, its list has the customer as of this
/// version or of a higher one.
///
/// # Not said
/// Which details have changed. No answer is sent: what Marketing refuses is kept with the reason among its
/// dead letters, for an operator.
///
/// # Delivery
/// At least once, in no order. Copies have the same `message_id`. Where Marketing has this version or a higher
/// one, nothing changes. A customer who is not in the list yet is put there, and the `CreateCustomer` that was
/// overtaken, version 1, then changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateCustomer {
    /// The customer's identity, as in `CreateCustomer`.
    #[schemars(example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", extend("x-personal-data" = "linked"))]
    pub customer_id: Uuid,
    /// Counts the customer's states at the source: 1 is what `CreateCustomer` told, each change adds 1.
    #[schemars(range(min = 2, max = 2_147_483_647), example = 2, extend("x-personal-data" = "linked"))]
    pub version: u32,
    /// The name to address the customer by: any script, not white space alone, no control characters.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::LINE))]
    #[schemars(example = "Zoë Ó Dálaigh-Wáng 王", extend("x-personal-data" = "direct"))]
    pub full_name: String,
    /// Where to write to: one `@` with something before and after it, no white space, no control characters.
    #[schemars(length(min = 3, max = 254), regex(pattern = patterns::EMAIL))]
    #[schemars(example = "zoe@example.org", extend("x-personal-data" = "direct"))]
    pub email_address: String,
    /// Whether the customer agrees to be sent marketing messages there.
    #[schemars(example = false, extend("x-personal-data" = "linked"))]
    pub email_opt_in: bool,
    /// The application that the customer comes from, as in `CreateCustomer`.
    #[schemars(length(min = 1, max = 50), regex(pattern = "^[a-z0-9-]+$"))]
    #[schemars(example = "web-store", extend("x-personal-data" = "none"))]
    pub source: String,
    /// Since when they have been a customer of the source, as in `CreateCustomer`.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-01-02T03:04:05.000600Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub customer_since: DateTime<Utc>,
    /// When their details changed at the source.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-02-03T04:05:06.000700Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub changed_at: DateTime<Utc>,
}

impl Message for UpdateCustomer {
    const TYPE: &'static str = "marketing.update-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_COMMANDS;
}
