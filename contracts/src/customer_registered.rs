//! The event `CustomerRegistered`, owned by the Web Store.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, patterns, timestamp, topology};

/// Somebody has become a customer of the Web Store.
///
/// # Sent
/// Once for each customer, after their registration was saved. The event is saved by the same commit, so
/// there is one for every registration and none without.
///
/// # True from then on
/// The Web Store has a customer of this identity. What the other fields say held at `registered_at`.
///
/// # Not said
/// That the e-mail address works or belongs to them: nobody has verified it. That the fields still hold:
/// they may have changed since.
///
/// # Delivery
/// At least once, in no order, and late by as long as something on the way was down. Copies have the same
/// `message_id`. There is one registration for each `customer_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerRegistered {
    /// The customer's identity in the Web Store, for good: never given to anybody else. A UUID of version 7.
    #[schemars(example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", extend("x-personal-data" = "linked"))]
    pub customer_id: Uuid,
    /// The name as the customer gave it: any script, no control characters, no white space at either end.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::TRIMMED_LINE))]
    #[schemars(example = "Zoë Ó Dálaigh 王", extend("x-personal-data" = "direct"))]
    pub name: String,
    /// The e-mail address as typed. ASCII, by the rule of `<input type=email>` in HTML, which allows more than
    /// mail servers do. No two customers have the same at a time, in whatever case.
    #[schemars(length(min = 3, max = 254), regex(pattern = patterns::HTML_EMAIL))]
    #[schemars(example = "zoe@example.org", extend("x-personal-data" = "direct"))]
    pub email: String,
    /// Whether the customer agreed to be sent marketing messages.
    #[schemars(example = true, extend("x-personal-data" = "linked"))]
    pub marketing_consent: bool,
    /// When the registration was accepted, by the Web Store's clock.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-01-02T03:04:05.000600Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub registered_at: DateTime<Utc>,
}

impl Message for CustomerRegistered {
    const TYPE: &'static str = "web-store.customer-registered.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_EVENTS;
}
