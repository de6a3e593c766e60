//! Messages for operation: status reports of consumers, and probes.
//!
//! They are not contracts between applications: they have no schema, and a release may change them.

use std::time::Duration;

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
}

/// A probe takes the way of an event and of the command that the event causes, and changes nothing.
///
/// Its type and its routing key are `<type of the message>.probe`. The binding of a consumer's queue covers the
/// messages and their probes. Other subscribers bind the type alone, and receive no probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When the first sender wrote the probe.
    #[serde(with = "crate::timestamp")]
    pub sent_at: DateTime<Utc>,
}

/// The types of the probes that the Web Store sends, one for each event with customers.
pub const PROBE_TYPES: [&str; 2] =
    ["web-store.customer-registered.v1.probe", "web-store.customer-details-changed.v1.probe"];

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

const PROBE_SUFFIX: &str = ".probe";

#[cfg(test)]
mod tests {
    use super::{PROBE_TYPES, is_probe_of, probe_type};
    use crate::{CustomerDetailsChanged, CustomerRegistered, Message};

    #[test]
    fn each_event_with_customers_is_probed() {
        let types = [CustomerRegistered::TYPE, CustomerDetailsChanged::TYPE];
        assert_eq!(types.map(probe_type), PROBE_TYPES);
        assert!(is_probe_of(types[0], PROBE_TYPES[0]));
        assert!(!is_probe_of(types[0], types[0]) && !is_probe_of(types[0], PROBE_TYPES[1]));
    }
}
