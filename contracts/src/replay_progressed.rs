//! The event `ReplayProgressed`, owned by the Web Store.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Message, Routing, topology};

/// A replay has sent events, or has ended.
///
/// # When it is sent
/// To the sender of a `ReplayCustomers` that had the property `reply_to`. The Web Store publishes it to
/// `web-store.replays` under that routing key, at most once in some seconds while the replay runs, and once at its end.
/// A report that no queue receives is dropped.
///
/// # What holds afterwards
/// The broker has put `published` events of the replay into the queue. If `state` is `completed`, these are all of its
/// events.
///
/// # Not stated
/// Whether the subscriber has processed the events. They may still be in the queue.
///
/// # Delivery
/// At least once and in no particular order, and only if a queue is bound. Copies have the same `message_id`. The
/// highest `published` is the current one, and `completed` or `failed` ends the replay. The property
/// `correlation_id` is that of the command, and the header `causation-id` is the command's `message_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct ReplayProgressed {
    /// The replay, which is the `message_id` of its `ReplayCustomers`.
    #[cfg_attr(feature = "generated", schemars(
        example = "0197f2d4-8c1e-7a40-b1f5-2f6f0c3f9a11",
        extend("x-personal-data" = "none"),
    ))]
    pub replay_id: Uuid,
    /// The state of the replay: `running`, `completed`, or `failed`.
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        regex(pattern = "^(running|completed|failed)$"),
        example = &"failed",
        extend("x-personal-data" = "none"),
    ))]
    pub state: ReplayState,
    /// The number of events that have been sent so far. An event that was sent twice, after a crash, counts once.
    #[cfg_attr(feature = "generated", schemars(
        range(min = 0, max = 9_007_199_254_740_991_u64),
        example = 1000,
        extend("x-unit" = "events", "x-personal-data" = "none"),
    ))]
    pub published: u64,
    /// The reason for the failure. Only a failed replay has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generated", schemars(
        with = "String",
        length(min = 1, max = 1000),
        example = "no queue is bound to web-store.replays with the routing key loyalty.customer-registered",
        extend("x-personal-data" = "none"),
    ))]
    pub reason: Option<String>,
}

/// The state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// Further events follow.
    Running,
    /// All events have been sent.
    Completed,
    /// The replay has ended before all events were sent.
    Failed,
}

impl Message for ReplayProgressed {
    const TYPE: &'static str = "web-store.replay-progressed.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "web-store";
    const EXCHANGE: &'static str = topology::WEB_STORE_REPLAYS;
    const ROUTING: Routing = Routing::ReplyTo;
}
