//! The queues from which Marketing consumes, each with the parser of its commands.

use contracts::topology::{
    MARKETING_CREATE_CUSTOMER, MARKETING_FORGET_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue,
};
use messaging::{Incoming, Rejection};

use crate::customer::Customer;

/// A queue and the parser of its commands.
///
/// Each command has its own queue and its own session, so a command that cannot be saved does not delay the
/// others.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// Queue with one type of command.
    pub queue: Queue,
    /// Parses a command of that type into a customer.
    pub parse: fn(&Incoming) -> Result<Customer, Rejection>,
}

/// All subscriptions of Marketing.
pub const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        queue: MARKETING_CREATE_CUSTOMER,
        parse: |message| Customer::created(message.parse()?), //
    },
    Subscription {
        queue: MARKETING_UPDATE_CUSTOMER,
        parse: |message| Customer::updated(message.parse()?), //
    },
    Subscription {
        queue: MARKETING_FORGET_CUSTOMER,
        parse: |message| Customer::forgotten(message.parse()?), //
    },
];
