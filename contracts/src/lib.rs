//! The messages that the applications exchange: their structure, their meaning and their addresses.
//!
//! This crate does no I/O and depends on no broker client, so that any team can use it. The body of a
//! message is UTF-8 JSON and nothing else; what envelopes it travels in the AMQP 0-9-1 basic properties.
//!
//! A contract evolves by addition: readers ignore fields that they do not know, and what would break a
//! reader becomes a new `v2` type next to `v1`.

pub mod address;
mod create_customer;
mod customer_registered;
mod timestamp;

pub use create_customer::CreateCustomer;
pub use customer_registered::CustomerRegistered;

/// A message with a documented contract.
pub trait Message: serde::Serialize + serde::de::DeserializeOwned {
    /// What the AMQP property `type` says, and the routing key: `<owner>.<message>.v<major version>`.
    const TYPE: &'static str;

    /// The exchange to which it is published. Its owner is the application that owns the contract.
    const EXCHANGE: &'static str;

    /// The body: JSON.
    ///
    /// # Panics
    /// Never: a contract consists of what JSON can express.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a contract consists of what JSON can express")
    }
}
