//! The messages that the applications exchange: their structure, their meaning, and their topology.
//!
//! This crate does no I/O and depends on no broker client, so any team can use it. The body of a message is
//! UTF-8 JSON. Everything else travels in the AMQP 0-9-1 basic properties.
//!
//! A contract is a Rust type with its doc comments and attributes. The JSON Schemas, the AsyncAPI document,
//! and the page for other teams (this crate's `README.md`) are generated from it. Contracts evolve by
//! addition: readers ignore unknown fields, and a breaking change becomes a `v2` type beside `v1`.
//!
//! # Modules
//!
//! | module | content |
//! | --- | --- |
//! | `customer_registered` | the event [`CustomerRegistered`] |
//! | `customer_details_changed` | the event [`CustomerDetailsChanged`] |
//! | `customer_erased` | the event [`CustomerErased`] |
//! | `erase_customer` | the command [`EraseCustomer`] |
//! | `replay_customers` | the command [`ReplayCustomers`] |
//! | `replay_progressed` | the event [`ReplayProgressed`] |
//! | `create_customer` | the command [`CreateCustomer`] |
//! | `update_customer` | the command [`UpdateCustomer`] |
//! | `forget_customer` | the command [`ForgetCustomer`] |
//! | `customers_requested` | the event [`CustomersRequested`] |
//! | [`topology`] | exchanges and queues, each defined once |
//! | [`operations`] | status reports of consumers, for operators' programs |
//! | [`envelope`] | the AMQP properties and headers of every message |
//! | `patterns`, `timestamp` | the text patterns and the time format of the messages |
//! | `generated` | schemas, samples, AsyncAPI, and the page (feature `generated`) |
//! | `compatibility` | compares a contract with its released revisions (feature `generated`) |
//! | `test_util` | validators and random valid messages (feature `test-util`) |
//!
//! # Where to start
//!
//! - To read a contract, start with [`CustomerRegistered`]. [`Message`] lists the parts of a contract.
//! - To add a message, add its type, its line in `generated::contracts`, and its queue in [`topology`].
//! - To regenerate the documents, run `cargo run -p contracts --features generated --example documents`.
//! - To release a revision, run `cargo run -p contracts --features generated --example release`.
//! - To test, run `cargo test -p contracts`. `tests/gate.rs` rejects breaking changes.

#[cfg(feature = "generated")]
pub mod compatibility;
mod create_customer;
mod customer_details_changed;
mod customer_erased;
mod customer_registered;
mod customers_requested;
pub mod envelope;
mod erase_customer;
mod forget_customer;
#[cfg(feature = "generated")]
pub mod generated;
pub mod operations;
#[cfg(feature = "generated")]
mod patterns;
mod replay_customers;
mod replay_progressed;
#[cfg(feature = "test-util")]
#[allow(clippy::missing_panics_doc, reason = "a panic reports a failure to the test")]
pub mod test_util;
mod timestamp;
pub mod topology;
mod update_customer;

pub use create_customer::CreateCustomer;
pub use customer_details_changed::CustomerDetailsChanged;
pub use customer_erased::CustomerErased;
pub use customer_registered::CustomerRegistered;
pub use customers_requested::CustomersRequested;
pub use erase_customer::EraseCustomer;
pub use forget_customer::ForgetCustomer;
pub use replay_customers::{MAX_REPLAYED_CUSTOMERS, ReplayCustomers, ReplayedCustomer};
pub use replay_progressed::{ReplayProgressed, ReplayState};
pub use update_customer::UpdateCustomer;

/// A message with a documented contract.
///
/// The type's doc comment has a summary and four sections: *When it is sent*, *What holds afterwards*,
/// *Not stated*, and *Delivery*. Each field documents its meaning, its limits, and an example. A field with a
/// unit documents it as `x-unit`. `x-personal-data` classifies the field: `direct` identifies a person,
/// `linked` describes a person without identifying them, and `none` does neither.
///
/// With the feature `generated`, every message also implements `schemars::JsonSchema`.
pub trait Message: serde::Serialize + serde::de::DeserializeOwned {
    /// The AMQP property `type`, and the routing key on a topic exchange: `<owner>.<message>.v<major version>`.
    const TYPE: &'static str;

    /// Event or command.
    const KIND: Kind;

    /// The application that owns and changes the contract.
    const OWNER: &'static str;

    /// The exchange that the message is published to. It belongs to the contract's owner.
    const EXCHANGE: &'static str;

    /// The routing key of the message.
    const ROUTING: Routing = Routing::Type;

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// Never: JSON can express every contract.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("JSON can express every contract")
    }
}

/// The two kinds of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fact. Only its owner publishes it, and any application may subscribe.
    Event,
    /// A request. Any application with the permission may send it, and only its owner consumes it.
    Command,
}

/// The routing key under which a message is published, and thereby the type of its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// The message type, on a topic exchange.
    Type,
    /// The property `reply_to` of the command that the message answers, on a direct exchange.
    ReplyTo,
}
