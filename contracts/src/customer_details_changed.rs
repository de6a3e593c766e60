//! The event `CustomerDetailsChanged`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// A customer of the Web Store has changed their details.
///
/// # When it is sent
/// Once for each change of a customer's name or consent, after the change is saved. The same commit saves the
/// change and the event.
///
/// # What holds afterwards
/// The event carries all of the customer's details, including those that did not change. They hold from
/// `changed_at` until there is a higher `version`.
///
/// # Not stated
/// Which details changed. Whether they are still current, because a higher version may be on its way or may
/// already have arrived.
///
/// # Delivery
/// At least once and in no particular order. An outage on the way delays the message for as long as the outage
/// lasts. Copies have the same `message_id`. A version may arrive before lower versions, and before the
/// customer's `CustomerRegistered`, which is version 1. The highest version is the current one. Each version is
/// complete, so a reader need not wait for the lower ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct CustomerDetailsChanged {
    /// The customer's identity in the Web Store, as in `CustomerRegistered`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The number of the customer's state. The registration is 1, and each change has a higher number.
    #[cfg_attr(feature = "generated", schemars(
        range(min = 2, max = 2_147_483_647),
        example = 2,
        extend("x-personal-data" = "linked"),
    ))]
    pub version: u32,
    /// The name as the customer entered it, in any script. It has no control characters and no white space at
    /// either end.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 200),
        regex(pattern = crate::patterns::TRIMMED_LINE),
        example = "Zoë Ó Dálaigh-Wáng 王",
        extend("x-personal-data" = "direct"),
    ))]
    pub name: String,
    /// The e-mail address, as in `CustomerRegistered`.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 3, max = 254),
        regex(pattern = crate::patterns::HTML_EMAIL),
        example = "zoe@example.org",
        extend("x-personal-data" = "direct"),
    ))]
    pub email: String,
    /// Whether the customer agrees to receive marketing messages.
    #[cfg_attr(feature = "generated", schemars(example = false, extend("x-personal-data" = "linked")))]
    pub marketing_consent: bool,
    /// The time at which the registration was accepted, as in `CustomerRegistered`.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-01-02T03:04:05.000600Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub registered_at: DateTime<Utc>,
    /// The time at which the Web Store accepted the change, by its own clock. Clocks can be adjusted, so
    /// compare `version` to find the newer state.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-02-03T04:05:06.000700Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub changed_at: DateTime<Utc>,
}

impl Message for CustomerDetailsChanged {
    const TYPE: &'static str = "web-store.customer-details-changed.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_EVENTS;
}
