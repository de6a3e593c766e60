//! The event `CustomerRegistered`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Message, address, timestamp};

/// A visitor was registered as a customer of the Web Store: a fact, stored before this was sent.
///
/// It may come more than once, late, and in any order; `customer_id` tells copies apart from news. It
/// does not say that the e-mail address was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRegistered {
    /// The customer's identity in the Web Store: a UUID v7, never used again.
    pub customer_id: Uuid,
    /// The name as the customer gave it: 1 to 200 characters of any script, trimmed. Personal data.
    pub name: String,
    /// The e-mail address as typed, at most 254 bytes. Personal data.
    pub email: String,
    /// Whether the customer agreed to be sent marketing messages.
    pub marketing_consent: bool,
    /// When the registration was accepted: RFC 3339, UTC, microseconds.
    #[serde(with = "timestamp")]
    pub registered_at: DateTime<Utc>,
}

impl Message for CustomerRegistered {
    const TYPE: &'static str = "web-store.customer-registered.v1";
    const EXCHANGE: &'static str = address::WEB_STORE_EVENTS;
}
