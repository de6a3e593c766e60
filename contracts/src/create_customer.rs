//! The command `CreateCustomer`, owned by Marketing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Message, address, timestamp};

/// A request to Marketing: have this customer in your list.
///
/// Carrying it out twice has the effect of once: a customer that is there already stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCustomer {
    /// The customer's identity, given by the source.
    pub customer_id: Uuid,
    /// The name to address the customer by: 1 to 200 characters. Personal data.
    pub full_name: String,
    /// Where to write to: at most 254 bytes, with one `@` inside. Personal data.
    pub email_address: String,
    /// Whether marketing messages may be sent there.
    pub email_opt_in: bool,
    /// The application that the customer comes from: 1 to 50 characters of `a`–`z`, `0`–`9` and `-`,
    /// such as `web-store`.
    pub source: String,
    /// Since when they have been a customer of the source: RFC 3339, UTC, microseconds.
    #[serde(with = "timestamp")]
    pub customer_since: DateTime<Utc>,
}

impl Message for CreateCustomer {
    const TYPE: &'static str = "marketing.create-customer.v1";
    const EXCHANGE: &'static str = address::MARKETING_COMMANDS;
}
