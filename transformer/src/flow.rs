//! The trait of a flow, and the envelope of the command that a flow makes.

use contracts::{Message, topology::Queue};
use messaging::{Envelope, Incoming, Outgoing, Rejection, child_traceparent};
use uuid::Uuid;

/// The mapping of one event to one command.
///
/// Each flow has its own queue and its own connections, so a flow that fails does not delay another flow.
pub trait Flow {
    /// The event that the flow consumes.
    type Event: Message;

    /// The command that the flow publishes.
    type Command: Message;

    /// `<event>-to-<command>`. It is part of every command id, so it must never change.
    const NAME: &'static str;

    /// The queue from which the flow consumes.
    const QUEUE: Queue;

    /// Returns the command for an event. The function is pure: the same event gives the same command.
    fn translate(event: Self::Event) -> Self::Command;
}

/// A flow without its types, as one entry of [`FLOWS`](crate::flows::FLOWS).
#[derive(Debug, Clone, Copy)]
pub struct FlowEntry {
    /// The name of the flow.
    pub name: &'static str,
    /// The queue from which the flow consumes.
    pub queue: Queue,
    /// The exchange to which the flow publishes.
    pub exchange: &'static str,
    /// Returns the outgoing command for a received event, or the reason why the event can never succeed.
    pub forward: fn(&Incoming) -> Result<Outgoing, Rejection>,
}

impl FlowEntry {
    /// Returns the entry of a flow.
    #[must_use]
    pub const fn of<F: Flow>() -> Self {
        Self { name: F::NAME, queue: F::QUEUE, exchange: F::Command::EXCHANGE, forward: forward::<F> }
    }
}

fn forward<F: Flow>(message: &Incoming) -> Result<Outgoing, Rejection> {
    let event_id = message.message_id()?;
    let command = F::translate(message.parse()?);
    Ok(Outgoing {
        exchange: F::Command::EXCHANGE,
        envelope: Envelope {
            // The same event always gives the same id, so a receiver can recognize a copy.
            message_id: Uuid::new_v5(&event_id, F::NAME.as_bytes()),
            message_type: F::Command::TYPE.into(),
            correlation_id: message.correlation_id().map_or_else(|| event_id.to_string(), str::to_owned),
            causation_id: Some(event_id),
            traceparent: child_traceparent(message.traceparent()),
            timestamp: message.timestamp().unwrap_or_default(),
            app_id: "transformer",
        },
        body: command.to_json().into_bytes(),
    })
}
