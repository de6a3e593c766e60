//! Messages for operation: status reports of consumers, the states of subscriptions, and probes.
//!
//! They are not contracts between applications: they have no schema, and a release may change them.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    num::NonZeroU32,
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The topic exchange for status reports. The routing key is the name of the consumer's queue.
pub const OPERATIONS_STATUS: &str = "operations.status";

/// The interval between two reports of one consumer.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The messages of one consumer since its session started.
///
/// The reports of a consumer are evidence: once it has settled as many messages as it had received at some time, it
/// holds none of the messages that it had received then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    /// The name of the queue.
    pub queue: String,
    /// A random id of the consumer's session.
    pub consumer: Uuid,
    /// The consuming application.
    pub service: String,
    /// Deliveries that were received and are not settled.
    pub in_flight: u64,
    /// All deliveries that were received.
    pub received: u64,
    /// All deliveries that were settled: acked or dead-lettered.
    pub settled: u64,
    /// The state that the consumer has applied. Reports of earlier releases have none.
    #[serde(default)]
    pub subscription: SubscriptionState,
    /// The last probe of this session. Reports of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeArrival>,
}

/// A probe that a consumer has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeArrival {
    /// When the Web Store wrote the probe.
    #[serde(with = "crate::timestamp")]
    pub sent_at: DateTime<Utc>,
    /// When the consumer settled it.
    #[serde(with = "crate::timestamp")]
    pub arrived_at: DateTime<Utc>,
}

/// The stream with the states of subscriptions, and the direct exchange through which the console publishes to it.
///
/// Services declare the stream. The console declares the exchange before its first message, so an exchange that does
/// not exist shows that no operator has changed a subscription.
pub const OPERATIONS_SUBSCRIPTIONS: &str = "operations.subscriptions";

/// A message of the stream: the last change of each subscription of one broker.
///
/// Each message contains all of them, so only the last message counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    /// Up to one change for each queue.
    pub subscriptions: Vec<SubscriptionChange>,
}

/// An operator's change of a subscription. It applies to all instances of the consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionChange {
    /// The name of the queue.
    pub queue: String,
    /// The state from now on.
    #[serde(flatten)]
    pub state: SubscriptionState,
    /// When the operator changed it.
    #[serde(with = "crate::timestamp")]
    pub at: DateTime<Utc>,
    /// The operator.
    pub operator: String,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Whether a subscription receives messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SubscriptionState {
    /// Its messages are processed as they arrive.
    #[default]
    Running,
    /// Its messages wait in the queue.
    Paused,
    /// Its messages are processed slowly.
    Throttled {
        /// The maximum of messages per second, for all instances together. At least 1.
        rate: NonZeroU32,
    },
}

impl Subscriptions {
    /// Returns the last change of a queue, or `None` if no operator has changed it.
    #[must_use]
    pub fn of(&self, queue: &str) -> Option<&SubscriptionChange> {
        self.subscriptions.iter().find(|change| change.queue == queue)
    }

    /// Replaces the last change of a queue.
    pub fn set(&mut self, change: SubscriptionChange) {
        self.subscriptions.retain(|other| other.queue != change.queue);
        self.subscriptions.push(change);
    }
}

impl Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Throttled { rate } => write!(f, "throttled to {rate} per second"),
        }
    }
}

/// A probe takes the way of an event and of the command that the event causes, and changes nothing.
///
/// Its type is `<type of the message>.probe`. See [`routing_key`] for its way. Other subscribers bind the type of the
/// message, and receive no probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When the first sender wrote the probe.
    #[serde(with = "crate::timestamp")]
    pub sent_at: DateTime<Utc>,
}

/// The types of the probes that the Web Store sends, one for each event about customers.
pub const PROBE_TYPES: [&str; 3] = [
    "web-store.customer-registered.v1.probe",
    "web-store.customer-details-changed.v1.probe",
    "web-store.customer-erased.v1.probe",
];

/// Returns the type of the probes of a message.
#[must_use]
pub fn probe_type(message_type: &str) -> String {
    format!("{message_type}{PROBE_SUFFIX}")
}

/// Returns whether a message of type `found` is a probe of `message_type`.
#[must_use]
pub fn is_probe_of(message_type: &str, found: &str) -> bool {
    found.strip_suffix(PROBE_SUFFIX) == Some(message_type)
}

/// Returns the routing key of a message on a topic exchange: its type. A probe has the type of its message with `probe`
/// as the first word. So [`crate::topology::Queue::binding_key`] covers both in one binding.
#[must_use]
pub fn routing_key(message_type: &str) -> Cow<'_, str> {
    let probed = message_type.strip_suffix(PROBE_SUFFIX).and_then(|probed| probed.split_once('.'));
    match probed {
        Some((_, words)) => format!("probe.{words}").into(),
        None => message_type.into(),
    }
}

const PROBE_SUFFIX: &str = ".probe";

#[cfg(test)]
mod tests {
    use chrono::{SubsecRound, Utc};
    use serde_json::json;

    use super::{
        ConsumerStatus, PROBE_TYPES, SubscriptionChange, SubscriptionState, Subscriptions, is_probe_of,
        probe_type, routing_key,
    };
    use crate::{
        CustomerDetailsChanged, CustomerErased, CustomerRegistered, Message,
        topology::TRANSFORMER_CUSTOMER_REGISTERED,
    };

    #[test]
    fn each_event_about_customers_is_probed() {
        let types = [CustomerRegistered::TYPE, CustomerDetailsChanged::TYPE, CustomerErased::TYPE];
        assert_eq!(types.map(probe_type), PROBE_TYPES);
        assert!(is_probe_of(types[0], PROBE_TYPES[0]));
        assert!(!is_probe_of(types[0], types[0]) && !is_probe_of(types[0], PROBE_TYPES[1]));
    }

    #[test]
    fn binding_of_message_covers_its_probe() {
        assert_eq!(routing_key(CustomerRegistered::TYPE), CustomerRegistered::TYPE);
        assert_eq!(routing_key(PROBE_TYPES[0]), "probe.customer-registered.v1");
        assert_eq!(TRANSFORMER_CUSTOMER_REGISTERED.binding_key(), "*.customer-registered.v1");
        assert_eq!(routing_key(".probe"), ".probe");
    }

    #[test]
    fn report_of_earlier_release_is_of_running_subscription() {
        let id = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71";
        let report = json!({
            "queue": "a.b", "consumer": id, "service": "a", "in_flight": 1, "received": 3, "settled": 2,
        });
        let status: ConsumerStatus = serde_json::from_value(report).unwrap();
        assert_eq!((status.subscription, status.probe), (SubscriptionState::Running, None));
    }

    #[test]
    fn last_change_of_queue_survives_serialization() {
        let at = Utc::now().trunc_subsecs(3);
        let change = |queue: &str, state, why: Option<&str>| SubscriptionChange {
            queue: queue.to_owned(),
            state,
            at,
            operator: "ann".to_owned(),
            why: why.map(str::to_owned),
        };
        let throttled = SubscriptionState::Throttled { rate: 20.try_into().unwrap() };
        let mut all = Subscriptions::default();
        all.set(change("a.b", SubscriptionState::Paused, Some("a test")));
        all.set(change("a.c", SubscriptionState::Paused, None));
        all.set(change("a.b", throttled, None));
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json["subscriptions"][1]["state"], "throttled");
        assert_eq!(json["subscriptions"][1]["rate"], 20);
        let parsed: Subscriptions = serde_json::from_value(json).unwrap();
        assert_eq!(parsed, all);
        assert_eq!(parsed.of("a.b").map(|change| change.state), Some(throttled));
        assert_eq!(parsed.of("a.d"), None);
    }
}
