//! The command `CreateCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, patterns, timestamp, topology};

/// Have this customer in Marketing's list.
///
/// # Sent
/// By whoever has a customer whom Marketing should know, once they are a customer there.
///
/// # True from then on
/// Nothing yet: it is a request. Once Marketing has carried it out, its list has this customer. A customer of
/// this identity who is there already stays as they are, so a second request changes nothing.
///
/// # Not said
/// Who asks, apart from `source`. No answer is sent: what Marketing refuses is kept with the reason among its
/// dead letters, for an operator.
///
/// # Delivery
/// At least once, in no order. Copies have the same `message_id`; whatever the `message_id`, one `customer_id`
/// makes one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateCustomer {
    /// The customer's identity, given by the source. Sources give UUIDs that nobody else gives (RFC 9562).
    #[schemars(example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", extend("x-personal-data" = "linked"))]
    pub customer_id: Uuid,
    /// The name to address the customer by: any script, not white space alone, no control characters.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::LINE))]
    #[schemars(example = "Zoë Ó Dálaigh 王", extend("x-personal-data" = "direct"))]
    pub full_name: String,
    /// Where to write to: one `@` with something before and after it, no white space, no control characters.
    #[schemars(length(min = 3, max = 254), regex(pattern = patterns::EMAIL))]
    #[schemars(example = "zoe@example.org", extend("x-personal-data" = "direct"))]
    pub email_address: String,
    /// Whether the customer agreed to be sent marketing messages there.
    #[schemars(example = true, extend("x-personal-data" = "linked"))]
    pub email_opt_in: bool,
    /// The application that the customer comes from.
    #[schemars(length(min = 1, max = 50), regex(pattern = "^[a-z0-9-]+$"))]
    #[schemars(example = "web-store", extend("x-personal-data" = "none"))]
    pub source: String,
    /// Since when they have been a customer of the source.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-01-02T03:04:05.000600Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub customer_since: DateTime<Utc>,
}

impl Message for CreateCustomer {
    const TYPE: &'static str = "marketing.create-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_COMMANDS;
}
