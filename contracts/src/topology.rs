//! The exchanges and the queues, each defined once.
//!
//! Each service declares the ones that it uses from these definitions, so services can start in any order.

use crate::{
    CreateCustomer, CustomerDetailsChanged, CustomerErased, CustomerRegistered, CustomersRequested,
    EraseCustomer, ForgetCustomer, Message, ReplayCustomers, UpdateCustomer,
};

/// The topic exchange for the Web Store's events. The routing key is the message type.
pub const WEB_STORE_EVENTS: &str = "web-store.events";

/// The topic exchange for commands to the Web Store. The routing key is the message type.
pub const WEB_STORE_COMMANDS: &str = "web-store.commands";

/// The topic exchange for commands that erase customers of the Web Store. The routing key is the message type.
///
/// It is apart from [`WEB_STORE_COMMANDS`], because every subscriber may request replays there. Only the operators'
/// program may publish to this one.
pub const WEB_STORE_ERASURES: &str = "web-store.erasures";

/// The direct exchange on which the Web Store sends events again. The routing key is the name of the receiving queue,
/// or the `reply_to` of a request.
pub const WEB_STORE_REPLAYS: &str = "web-store.replays";

/// The topic exchange for Marketing's commands. The routing key is the message type.
pub const MARKETING_COMMANDS: &str = "marketing.commands";

/// The topic exchange for Marketing's events. The routing key is the message type.
pub const MARKETING_EVENTS: &str = "marketing.events";

/// A consumer's durable quorum queue. A second queue beside it keeps its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// `<consumer>.<message>`.
    pub name: &'static str,
    /// The exchange that the queue is bound to.
    pub exchange: &'static str,
    /// The routing key of its messages, which is their type.
    pub routing_key: &'static str,
    /// The consumer's direct exchange for dead letters. Their routing key is the queue's name.
    pub dead_letter_exchange: &'static str,
    /// How messages arrive that were sent before the queue existed.
    pub replay: Replay,
}

/// How a queue gets the messages that were sent before it existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// They are not sent again. This is a queue of requests, and their senders repeat a request that matters.
    Never,
    /// The consumer asks the senders, and they use the ordinary exchange.
    FromSenders,
    /// The consumer asks the owner of the events. The owner uses this direct exchange, with the name of the queue as
    /// the routing key.
    FromExchange(&'static str),
}

/// The queues through which customers pass, in the order of their way.
pub const QUEUES: &[Queue] = &[
    TRANSFORMER_CUSTOMER_REGISTERED,
    TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    MARKETING_CREATE_CUSTOMER,
    MARKETING_UPDATE_CUSTOMER,
];

/// The queues of requests to send customers again, in the order of their way.
pub const REQUEST_QUEUES: &[Queue] = &[TRANSFORMER_CUSTOMERS_REQUESTED, WEB_STORE_REPLAY_CUSTOMERS];

/// The queues of erasures, in the order of their way. Their messages have no name and no address.
pub const ERASURE_QUEUES: &[Queue] =
    &[WEB_STORE_ERASE_CUSTOMER, TRANSFORMER_CUSTOMER_ERASED, MARKETING_FORGET_CUSTOMER];

impl Queue {
    /// Returns the consuming application, which is the first part of the queue's name.
    #[must_use]
    pub fn consumer(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// Returns the pattern of the queue's binding, which covers the messages and their probes: the type with `*` as its
    /// first word. See [`crate::operations::routing_key`].
    ///
    /// The broker finds it in as many steps as the type itself. A pattern that ends with `#` costs it 7 % more CPU time
    /// for each message.
    #[must_use]
    pub fn binding_key(&self) -> String {
        match self.routing_key.split_once('.') {
            Some((_, words)) => format!("*.{words}"),
            None => self.routing_key.into(),
        }
    }

    /// Returns the bindings of earlier releases: the messages without their probes, and the pattern with `#`.
    #[must_use]
    pub fn former_binding_keys(&self) -> [String; 2] {
        [self.routing_key.into(), format!("{}.#", self.routing_key)]
    }

    /// Returns the name of the queue that keeps rejected messages: `<name>.dead-letters`.
    #[must_use]
    pub fn dead_letter_queue(&self) -> String {
        format!("{}.dead-letters", self.name)
    }

    /// Returns the name of the exchange that marks a gap: `<name>.replay-pending`.
    ///
    /// The consumer declares it before it creates the queue. It deletes it after it has requested the messages that
    /// were sent before. Nothing is published to the exchange. It is the one durable mark that needs no more than the
    /// permissions of the consumer.
    #[must_use]
    pub fn gap_marker(&self) -> String {
        format!("{}.replay-pending", self.name)
    }
}

/// The transformer's queue for [`CustomerRegistered`].
pub const TRANSFORMER_CUSTOMER_REGISTERED: Queue = Queue {
    name: "transformer.customer-registered",
    exchange: CustomerRegistered::EXCHANGE,
    routing_key: CustomerRegistered::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
    replay: Replay::FromExchange(WEB_STORE_REPLAYS),
};

/// The transformer's queue for [`CustomerDetailsChanged`].
pub const TRANSFORMER_CUSTOMER_DETAILS_CHANGED: Queue = Queue {
    name: "transformer.customer-details-changed",
    exchange: CustomerDetailsChanged::EXCHANGE,
    routing_key: CustomerDetailsChanged::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
    replay: Replay::FromExchange(WEB_STORE_REPLAYS),
};

/// Marketing's queue for [`CreateCustomer`].
pub const MARKETING_CREATE_CUSTOMER: Queue = Queue {
    name: "marketing.create-customer",
    exchange: CreateCustomer::EXCHANGE,
    routing_key: CreateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
    replay: Replay::FromSenders,
};

/// Marketing's queue for [`UpdateCustomer`].
pub const MARKETING_UPDATE_CUSTOMER: Queue = Queue {
    name: "marketing.update-customer",
    exchange: UpdateCustomer::EXCHANGE,
    routing_key: UpdateCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
    replay: Replay::FromSenders,
};

/// The transformer's queue for [`CustomersRequested`].
pub const TRANSFORMER_CUSTOMERS_REQUESTED: Queue = Queue {
    name: "transformer.customers-requested",
    exchange: CustomersRequested::EXCHANGE,
    routing_key: CustomersRequested::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
    replay: Replay::Never,
};

/// The Web Store's queue for [`ReplayCustomers`].
pub const WEB_STORE_REPLAY_CUSTOMERS: Queue = Queue {
    name: "web-store.replay-customers",
    exchange: ReplayCustomers::EXCHANGE,
    routing_key: ReplayCustomers::TYPE,
    dead_letter_exchange: "web-store.dead-letters",
    replay: Replay::Never,
};

/// The Web Store's queue for [`EraseCustomer`].
pub const WEB_STORE_ERASE_CUSTOMER: Queue = Queue {
    name: "web-store.erase-customer",
    exchange: EraseCustomer::EXCHANGE,
    routing_key: EraseCustomer::TYPE,
    dead_letter_exchange: "web-store.dead-letters",
    replay: Replay::Never,
};

/// The transformer's queue for [`CustomerErased`].
pub const TRANSFORMER_CUSTOMER_ERASED: Queue = Queue {
    name: "transformer.customer-erased",
    exchange: CustomerErased::EXCHANGE,
    routing_key: CustomerErased::TYPE,
    dead_letter_exchange: "transformer.dead-letters",
    replay: Replay::FromExchange(WEB_STORE_REPLAYS),
};

/// Marketing's queue for [`ForgetCustomer`].
pub const MARKETING_FORGET_CUSTOMER: Queue = Queue {
    name: "marketing.forget-customer",
    exchange: ForgetCustomer::EXCHANGE,
    routing_key: ForgetCustomer::TYPE,
    dead_letter_exchange: "marketing.dead-letters",
    replay: Replay::FromSenders,
};
