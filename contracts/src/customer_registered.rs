//! The event `CustomerRegistered`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// A person has become a customer of the Web Store.
///
/// # When it is sent
/// Once for each customer, after the registration is saved. The same commit saves the registration and the
/// event. Every registration therefore has one event, and no event exists without a registration.
///
/// # What holds afterwards
/// The Web Store has a customer with this `customer_id`. The other fields describe the customer as of
/// `registered_at`.
///
/// # Not stated
/// Whether the e-mail address works and belongs to the customer, because it has not been verified. Whether the
/// fields are still current, because they may have changed since.
///
/// # Delivery
/// At least once and in no particular order. An outage on the way delays the message for as long as the outage
/// lasts. Copies have the same `message_id`. There is one registration for each `customer_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct CustomerRegistered {
    /// The customer's identity in the Web Store. It is permanent and never reassigned. A UUID of version 7.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The name as the customer entered it, in any script. It has no control characters and no white space at
    /// either end.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 200),
        regex(pattern = crate::patterns::TRIMMED_LINE),
        example = "Zoë Ó Dálaigh 王",
        extend("x-personal-data" = "direct"),
    ))]
    pub name: String,
    /// The e-mail address as the customer typed it, in ASCII. It follows the rule of `<input type=email>` in
    /// HTML, which accepts more addresses than mail servers do. No two customers have the same address at the
    /// same time, regardless of case.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 3, max = 254),
        regex(pattern = crate::patterns::HTML_EMAIL),
        example = "zoe@example.org",
        extend("x-personal-data" = "direct"),
    ))]
    pub email: String,
    /// Whether the customer agreed to receive marketing messages.
    #[cfg_attr(feature = "generated", schemars(example = true, extend("x-personal-data" = "linked")))]
    pub marketing_consent: bool,
    /// The time at which the Web Store accepted the registration, by its own clock.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-01-02T03:04:05.000600Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub registered_at: DateTime<Utc>,
}

impl Message for CustomerRegistered {
    const TYPE: &'static str = "web-store.customer-registered.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_EVENTS;
}
