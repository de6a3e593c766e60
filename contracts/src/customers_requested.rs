//! The event `CustomersRequested`, owned by Marketing.

use serde::{Deserialize, Serialize};

use crate::{Kind, Message, topology};

/// Marketing may have missed commands of one type and asks their senders to send them again.
///
/// # When it is sent
/// When Marketing had to create its queue for the commands: at its first start, or after the queue was deleted.
///
/// # What holds afterwards
/// Marketing has a queue for these commands again. Commands that were sent before may never have reached it.
///
/// # Not stated
/// Which commands are missing. Marketing does not know its senders. A sender of these commands sends all of them again,
/// under their original `message_id`. Other applications ignore the event.
///
/// # Delivery
/// At least once and in no particular order. Marketing repeats the event until a queue has received it. Copies have
/// the same `message_id`. Sending the commands twice has the same effect as sending them once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generated", derive(schemars::JsonSchema))]
pub struct CustomersRequested {
    /// The type of the missing commands.
    #[cfg_attr(feature = "generated", schemars(
        length(max = 255),
        regex(pattern = crate::patterns::MESSAGE_TYPE),
        example = "marketing.create-customer.v1",
        extend("x-personal-data" = "none"),
    ))]
    pub command_type: String,
}

impl Message for CustomersRequested {
    const TYPE: &'static str = "marketing.customers-requested.v1";
    const KIND: Kind = Kind::Event;
    const OWNER: &'static str = "marketing";
    const EXCHANGE: &'static str = topology::MARKETING_EVENTS;
}
