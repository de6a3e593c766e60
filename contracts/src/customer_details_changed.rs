//! The event `CustomerDetailsChanged`, owned by the Web Store.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, patterns, timestamp, topology};

/// A customer of the Web Store has changed their details.
///
/// # Sent
/// Once for each change of a customer's name or consent, after it was saved, by the same commit.
///
/// # True from then on
/// These are the customer's details since `changed_at`: all of them, whatever was changed. They hold until
/// there is a higher `version`.
///
/// # Not said
/// Which details were changed. That they still hold: a higher version may be on its way or here already.
///
/// # Delivery
/// At least once, in no order, and late by as long as something on the way was down. Copies have the same
/// `message_id`. A version may come before lower ones, and before the `CustomerRegistered` of the same
/// customer, which is version 1. The highest version is what holds; since each is complete, there is no need
/// to wait for those below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerDetailsChanged {
    /// The customer's identity in the Web Store, as in `CustomerRegistered`.
    #[schemars(example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", extend("x-personal-data" = "linked"))]
    pub customer_id: Uuid,
    /// Counts the customer's states: 1 is their registration, each change adds 1.
    #[schemars(range(min = 2, max = 2_147_483_647), example = 2, extend("x-personal-data" = "linked"))]
    pub version: u32,
    /// The name as the customer gave it: any script, no control characters, no white space at either end.
    #[schemars(length(min = 1, max = 200), regex(pattern = patterns::TRIMMED_LINE))]
    #[schemars(example = "Zoë Ó Dálaigh-Wáng 王", extend("x-personal-data" = "direct"))]
    pub name: String,
    /// The e-mail address, as in `CustomerRegistered`.
    #[schemars(length(min = 3, max = 254), regex(pattern = patterns::HTML_EMAIL))]
    #[schemars(example = "zoe@example.org", extend("x-personal-data" = "direct"))]
    pub email: String,
    /// Whether the customer agrees to be sent marketing messages.
    #[schemars(example = false, extend("x-personal-data" = "linked"))]
    pub marketing_consent: bool,
    /// When the registration was accepted, as in `CustomerRegistered`.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-01-02T03:04:05.000600Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub registered_at: DateTime<Utc>,
    /// When the change was accepted, by the Web Store's clock. Clocks may be set: `version` tells what is newer.
    #[serde(with = "timestamp")]
    #[schemars(schema_with = "timestamp::schema", example = "2026-02-03T04:05:06.000700Z")]
    #[schemars(extend("x-personal-data" = "linked"))]
    pub changed_at: DateTime<Utc>,
}

impl Message for CustomerDetailsChanged {
    const TYPE: &'static str = "web-store.customer-details-changed.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_EVENTS;
}
