//! The trait of a flow, and the envelope of the command that a flow makes.

use contracts::{
    Message,
    operations::{is_probe_of, probe_type},
    topology::Queue,
};
use messaging::{Envelope, Incoming, Outgoing, Rejection};
use telemetry::create_span;
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

    /// The brokers between which the flow carries messages.
    const DIRECTION: Direction = Direction::SourceToTarget;

    /// Returns the command for an event, or `None` if the event requires no command. The function is pure: the same
    /// event gives the same command.
    fn translate(event: Self::Event) -> Option<Self::Command>;
}

/// The brokers between which a flow carries messages. The Web Store uses the source, and Marketing the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From events of the Web Store to commands for Marketing.
    SourceToTarget,
    /// From events of Marketing to commands for the Web Store.
    TargetToSource,
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
    /// The type of the events.
    pub event_type: &'static str,
    /// The type of the commands.
    pub command_type: &'static str,
    /// The brokers between which the flow carries messages.
    pub direction: Direction,
    /// Returns the outgoing command for a received event, `None` if it requires no command, or the reason why the
    /// event can never succeed.
    pub forward: fn(&Incoming) -> Result<Option<Outgoing>, Rejection>,
}

impl FlowEntry {
    /// Returns the entry of a flow.
    #[must_use]
    pub const fn of<F: Flow>() -> Self {
        Self {
            name: F::NAME,
            queue: F::QUEUE,
            exchange: F::Command::EXCHANGE,
            event_type: F::Event::TYPE,
            command_type: F::Command::TYPE,
            direction: F::DIRECTION,
            forward: forward::<F>,
        }
    }

    /// Returns the id of the command that the flow makes from an event.
    #[must_use]
    pub fn command_id(&self, event_id: Uuid) -> Uuid {
        command_id(self.name, event_id)
    }
}

/// Returns the id of the command that a flow makes from an event. The same event always gives the same id, so a receiver
/// can recognize a copy.
fn command_id(flow: &str, event_id: Uuid) -> Uuid {
    Uuid::new_v5(&event_id, flow.as_bytes())
}

fn forward<F: Flow>(message: &Incoming) -> Result<Option<Outgoing>, Rejection> {
    let (command_type, body) = if is_probe_of(F::Event::TYPE, message.message_type()) {
        (probe_type(F::Command::TYPE).into(), message.body().to_owned())
    } else {
        let Some(command) = F::translate(message.parse()?) else { return Ok(None) };
        (F::Command::TYPE.into(), command.to_json().into_bytes())
    };
    let event_id = message.message_id()?;
    Ok(Some(Outgoing {
        exchange: F::Command::EXCHANGE,
        envelope: Envelope {
            message_id: command_id(F::NAME, event_id),
            message_type: command_type,
            correlation_id: message.correlation_id().map_or_else(|| event_id.to_string(), str::to_owned),
            causation_id: Some(event_id),
            traceparent: create_span(message.traceparent().as_deref(), F::Command::EXCHANGE),
            timestamp: message.timestamp().unwrap_or_default(),
            app_id: "transformer",
            is_replay: message.is_replay(),
        },
        body,
    }))
}
