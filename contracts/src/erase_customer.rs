//! The command `EraseCustomer`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// Erase everything that identifies this customer.
///
/// # When it is sent
/// When a person has asked for the erasure of their data, and an operator has confirmed the request.
///
/// # What holds afterwards
/// Nothing yet, because a command is a request. Once the Web Store has carried it out, it has no name, no address, and
/// no earlier version of this customer, and no event with them waits to be sent. It keeps the `customer_id` and the
/// time, and it publishes `CustomerErased`. It does the same for a customer that it does not have, because another
/// application may still have the customer.
///
/// # Not stated
/// Who asked, and why. The command has no name and no address. Only the operators' program has the permission to send it. The person may register again, as a new
/// customer with a new `customer_id`.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id`. The second command for a customer erases
/// nothing more, and publishes the same `CustomerErased` again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct EraseCustomer {
    /// The customer's identity in the Web Store, as in `CustomerRegistered`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The time at which the operator sent the request.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-03-04T05:06:07.000800Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub requested_at: DateTime<Utc>,
}

impl Message for EraseCustomer {
    const TYPE: &'static str = "web-store.erase-customer.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_ERASURES;
}
