//! The exchanges and the queues, each defined once.
//!
//! Each service declares the ones that it uses from these definitions, so services can start in any order.

use crate::{CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer};

/// The topic exchange for the Web Store's events. The routing key is the message type.
pub const WEB_STORE_EVENTS: &str = "web-store.events";

/// The topic exchange for Marketing's commands. The routing key is the message type.
pub const MARKETING_COMMANDS: &str = "marketing.commands";

/// A consumer's durable quorum queue. A second queue beside it keeps its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// `<consumer>.<message>`.
    pub name: &'static str,
    /// The exchange that the queue is bound to.
    pub exchange: &'static str,
    /// The routing key of the binding, which is a message type.
    pub routing_key: &'static str,
    /// The consumer's direct exchange for dead letters. Their routing key is the queue's name.
    pub dead_letter_exchange: &'static str,
}

/// All queues, in the order in which messages pass through them.
pub const QUEUES: &[Queue] = &[
    TRANSFORMER_CUSTOMER_REGISTERED,
    TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    MARKETING_CREATE_CUSTOMER,
    MARKETING_UPDATE_CUSTOMER,
];

impl Queue {
    /// Returns the consuming application, which is the first part of the queue's name.
    #[must_use]
    pub fn consumer(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// Returns the name of the queue that keeps rejected messages: `<name>.dead-letters`.
    #[must_use]
    pub fn dead_letter_queue(&self) -> String {
        format!("{}.dead-letters", self.name)
    }
}

/// The transformer's queue for [`CustomerRegistered`].
pub const TRANSFORMER_CUSTOMER_REGISTERED: Queue = Queue {
    name: "transformer.customer-registered",
    exchange: CustomerRegistered::EXCHANGE,
    routing_key: CustomerRegistered::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
};

/// The transformer's queue for [`CustomerDetailsChanged`].
pub const TRANSFORMER_CUSTOMER_DETAILS_CHANGED: Queue = Queue {
    name: "transformer.customer-details-changed",
    exchange: CustomerDetailsChanged::EXCHANGE,
    routing_key: CustomerDetailsChanged::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
};

/// Marketing's queue for [`CreateCustomer`].
pub const MARKETING_CREATE_CUSTOMER: Queue = Queue {
    name: "marketing.create-customer",
    exchange: CreateCustomer::EXCHANGE,
    routing_key: CreateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
};

/// Marketing's queue for [`UpdateCustomer`].
pub const MARKETING_UPDATE_CUSTOMER: Queue = Queue {
    name: "marketing.update-customer",
    exchange: UpdateCustomer::EXCHANGE,
    routing_key: UpdateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
};
