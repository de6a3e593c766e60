//! Status reports of consumers, for operators' programs.
//!
//! They are not contracts between applications: they have no schema, and a release may change them.

use std::time::Duration;

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
