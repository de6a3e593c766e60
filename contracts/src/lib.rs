//! The messages that the applications exchange: their structure, their meaning and their addresses.
//!
//! This crate does no I/O and depends on no broker client, so that any team can use it. The body of a
//! message is UTF-8 JSON and nothing else; what envelopes it travels in the AMQP 0-9-1 basic properties.
//!
//! A contract is a type with its doc comments and attributes, and is told nowhere else: the JSON Schemas, the
//! AsyncAPI document and the page for other teams are made from it. It evolves by addition: readers ignore
//! fields that they do not know, and what would break a reader or a writer becomes a new `v2` type next to
//! `v1`.

pub mod compatibility;
mod create_customer;
mod customer_details_changed;
mod customer_registered;
pub mod envelope;
pub mod generated;
mod patterns;
#[cfg(feature = "test-util")]
#[allow(clippy::missing_panics_doc, reason = "a panic is how a test is told of any failure")]
pub mod test_util;
mod timestamp;
pub mod topology;
mod update_customer;

pub use create_customer::CreateCustomer;
pub use customer_details_changed::CustomerDetailsChanged;
pub use customer_registered::CustomerRegistered;
pub use update_customer::UpdateCustomer;

/// A message with a documented contract.
///
/// Its doc comment says what it is, and under the headings *Sent*, *True from then on*, *Not said* and
/// *Delivery* what it means. Each field says its meaning, its limits, an example, its unit where it has one
/// (`x-unit`), and whether it is personal data (`x-personal-data`): `direct`, if it says who somebody is,
/// `linked`, if it tells of somebody but not of whom, or `none`.
pub trait Message: schemars::JsonSchema + serde::Serialize + serde::de::DeserializeOwned {
    /// What the AMQP property `type` says, and the routing key: `<owner>.<message>.v<major version>`.
    const TYPE: &'static str;

    /// Whether it tells or asks.
    const KIND: Kind;

    /// The application that decides what the contract says.
    const OWNER: &'static str;

    /// The exchange to which it is published. It belongs to the contract's owner.
    const EXCHANGE: &'static str;

    /// The body: JSON.
    ///
    /// # Panics
    /// Never: a contract consists of what JSON can express.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a contract consists of what JSON can express")
    }
}

/// What sort of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fact. Its owner alone writes it, for whoever wants to know.
    Event,
    /// A request. Whoever may writes it, for its owner alone.
    Command,
}
