//! Where messages go: the exchanges and the queues, each defined once.
//!
//! Every service declares what it touches from these definitions, so the starting order never matters.

use crate::{CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer};

/// The Web Store's events: facts, in the past tense. A topic exchange; the routing key is the message type.
pub const WEB_STORE_EVENTS: &str = "web-store.events";

/// Marketing's commands: requests, in the imperative. A topic exchange; the routing key is the message type.
pub const MARKETING_COMMANDS: &str = "marketing.commands";

/// A consumer's queue: durable, a quorum queue, with a queue for its dead letters beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// `<consumer>.<message>`
    pub name: &'static str,
    /// The exchange from which it gets its messages.
    pub exchange: &'static str,
    /// The routing key under which it is bound: a message type.
    pub routing_key: &'static str,
    /// The consumer's direct exchange for dead letters; the routing key is the queue's name.
    pub dead_letter_exchange: &'static str,
}

/// Every queue, in the order of the messages' way.
pub const QUEUES: &[Queue] = &[
    TRANSFORMER_CUSTOMER_REGISTERED,
    TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    MARKETING_CREATE_CUSTOMER,
    MARKETING_UPDATE_CUSTOMER,
];

impl Queue {
    /// The application that consumes from it: the first part of its name.
    #[must_use]
    pub fn consumer(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// The queue that keeps what this queue's consumer rejected: `<name>.dead-letters`.
    #[must_use]
    pub fn dead_letter_queue(&self) -> String {
        format!("{}.dead-letters", self.name)
    }
}

/// Where the transformer gets [`CustomerRegistered`].
pub const TRANSFORMER_CUSTOMER_REGISTERED: Queue = Queue {
    name: "transformer.customer-registered",
    exchange: CustomerRegistered::EXCHANGE,
    routing_key: CustomerRegistered::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
};

/// Where the transformer gets [`CustomerDetailsChanged`].
pub const TRANSFORMER_CUSTOMER_DETAILS_CHANGED: Queue = Queue {
    name: "transformer.customer-details-changed",
    exchange: CustomerDetailsChanged::EXCHANGE,
    routing_key: CustomerDetailsChanged::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
};

/// Where Marketing gets [`CreateCustomer`].
pub const MARKETING_CREATE_CUSTOMER: Queue = Queue {
    name: "marketing.create-customer",
    exchange: CreateCustomer::EXCHANGE,
    routing_key: CreateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
};

/// Where Marketing gets [`UpdateCustomer`].
pub const MARKETING_UPDATE_CUSTOMER: Queue = Queue {
    name: "marketing.update-customer",
    exchange: UpdateCustomer::EXCHANGE,
    routing_key: UpdateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
};
