//! The command `ReplayCustomers`, owned by the Web Store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, timestamp, topology};

/// The largest number of customers in one [`ReplayCustomers`].
pub const MAX_REPLAYED_CUSTOMERS: usize = 1000;

/// Send the events of these customers again, into one queue only.
///
/// # When it is sent
/// By a subscriber whose queue has not received all events: a new subscriber, or one that had to create its queue
/// again. The subscriber first binds the queue to `web-store.events`, and then to `web-store.replays` with the
/// queue's name as the routing key. In this order, no event is missed between the replay and the events that follow.
///
/// # What holds afterwards
/// Nothing yet, because a command is a request. The Web Store then publishes the events to `web-store.replays` under
/// the routing key `queue`. They are unchanged: a replayed event has its original `message_id`, properties, and body.
/// Of each customer, the Web Store sends `CustomerRegistered` and only the newest `CustomerDetailsChanged`, because
/// each version is complete. An erased customer has only `CustomerErased`, which the Web Store sends if `event_types`
/// names it. A period selects from these events. Without a period and without customers, all events are sent.
///
/// # Not stated
/// When the replay ends. A command with the property `reply_to` gets `ReplayProgressed`. The replay pauses while the
/// queue is long, and while no queue is bound. It fails after 24 hours without a queue that accepts its events.
///
/// # Delivery
/// At least once and in no particular order. Copies have the same `message_id` and are the same replay. Later
/// changes of a customer may arrive before the replayed events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct ReplayCustomers {
    /// The receiving queue. It is the routing key of the replayed events on `web-store.replays`.
    #[cfg_attr(feature = "generated", schemars(
        length(min = 1, max = 255),
        regex(pattern = "^[!-~]+$"),
        example = "loyalty.customer-registered",
        extend("x-personal-data" = "none"),
    ))]
    pub queue: String,
    /// The types of the events to send. Without it, `CustomerRegistered` and `CustomerDetailsChanged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "Vec<EventType>",
        length(min = 1, max = 10),
        extend(
            "examples" = [["web-store.customer-registered.v1", "web-store.customer-details-changed.v1"]],
            "x-personal-data" = "none",
        ),
    ))]
    pub event_types: Option<Vec<String>>,
    /// Selects the events that occurred at this time or later. Not together with `customers`.
    #[serde(with = "timestamp::optional", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-01-02T03:04:05.000600Z",
        extend("x-personal-data" = "none"),
    ))]
    pub since: Option<DateTime<Utc>>,
    /// Selects the events that occurred before this time. Not together with `customers`.
    #[serde(with = "timestamp::optional", default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        schema_with = "timestamp::schema",
        example = "2026-02-03T04:05:06.000700Z",
        extend("x-personal-data" = "none"),
    ))]
    pub until: Option<DateTime<Utc>>,
    /// Selects the events of these customers. An unknown customer has no events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "Vec<ReplayedCustomer>",
        length(min = 1, max = 1000),
        extend("x-personal-data" = "linked"),
    ))]
    pub customers: Option<Vec<ReplayedCustomer>>,
}

/// A customer whose events are sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct ReplayedCustomer {
    /// The customer's identity in the Web Store, as in `CustomerRegistered`.
    #[cfg_attr(feature = "generated", schemars(
        example = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71",
        extend("x-personal-data" = "linked"),
    ))]
    pub customer_id: Uuid,
    /// The version that the subscriber has. If the Web Store has a lower one, because its database was restored from
    /// a backup, it first gives its state a new version that is higher than both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "u32",
        range(min = 1, max = 2_147_483_647),
        example = 2,
        extend("x-personal-data" = "linked"),
    ))]
    pub version: Option<u32>,
}

/// A message type of the Web Store.
#[cfg(feature = "generated")]
#[derive(schemars::JsonSchema)]
#[serde(transparent)]
struct EventType(
    #[schemars(length(max = 255), regex(pattern = crate::patterns::MESSAGE_TYPE))]
    #[expect(dead_code)]
    String,
);

impl Message for ReplayCustomers {
    const TYPE: &'static str = "web-store.replay-customers.v1";
    const KIND: Kind = Kind::Command;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_COMMANDS;
}
