//! The commands that Marketing takes. Each has a queue of its own, so one that is stuck holds up no other.

use contracts::topology::{MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue};
use messaging::{Incoming, Rejection};

use crate::customer::Customer;

/// Where a sort of command comes from, and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Its queue.
    pub queue: Queue,
    /// The customer that it tells of.
    pub parse: fn(&Incoming) -> Result<Customer, Rejection>,
}

/// All commands.
pub const COMMANDS: &[Command] = &[
    Command {
        queue: MARKETING_CREATE_CUSTOMER,
        parse: |message| Customer::created(message.parse()?), //
    },
    Command {
        queue: MARKETING_UPDATE_CUSTOMER,
        parse: |message| Customer::updated(message.parse()?), //
    },
];
