//! The event `CustomerErased`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// The Web Store has erased a customer.
///
/// # When it is sent
/// Once for each erasure, after it is saved. The same commit erases the customer and saves the event. It is sent again
/// if the erasure is requested again.
///
/// # What holds afterwards
/// The Web Store does not have this customer any more, in any version. A subscriber that stores the customer's details
/// erases them too: its rows, its copies, and its messages that it has set aside.
///
/// # Not stated
/// Whether earlier events of this customer are still on their way. They can arrive afterwards, so a subscriber remembers
/// the `customer_id` without the details, and ignores every other event of this customer from then on. The erasure is
/// final. The same person may register again under another `customer_id`.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id`. It may arrive before the customer's
/// `CustomerRegistered`. The Web Store keeps the event, and sends it again at the request of a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct CustomerErased {
    /// The customer's identity in the Web Store, as in `CustomerRegistered`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// A number that is higher than the versions of the customer that the Web Store had. A subscriber that keeps the
    /// highest version can treat the erasure as one more version.
    #[cfg_attr(feature = "generated", schemars(
        range(min = 2, max = 2_147_483_647),
        example = 3,
        extend("x-personal-data" = "linked"),
    ))]
    pub version: u32,
    /// The time at which the Web Store erased the customer, by its own clock.
    #[serde(with = "timestamp")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-03-04T05:06:08.000900Z",
        extend("x-personal-data" = "linked"),
    ))]
    pub erased_at: DateTime<Utc>,
}

impl Message for CustomerErased {
    const TYPE: &'static str = "web-store.customer-erased.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_EVENTS;
}
