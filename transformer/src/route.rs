//! A route: which messages it takes, and what it makes of one.

use contracts::{Message, topology::Queue};
use messaging::{Envelope, Incoming, Outgoing, Rejection, child_traceparent};
use uuid::Uuid;

/// One flow through the transformer. It has a queue of its own, so a flow that is stuck holds up no other.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `<message>-to-<message>`: part of every command's id, so it may never change.
    pub name: &'static str,
    /// Where its messages come from.
    pub queue: Queue,
    /// Where its commands go.
    pub exchange: &'static str,
    /// What it makes of a message.
    pub translate: fn(&Route, &Incoming) -> Result<Outgoing, Rejection>,
}

impl Route {
    /// Reads an event, maps it by a pure function, and envelopes the command that comes of it.
    ///
    /// # Errors
    /// The message is not what its contract says.
    pub fn map<From: Message, To: Message>(
        &self,
        message: &Incoming,
        map: fn(From) -> To,
    ) -> Result<Outgoing, Rejection> {
        let event_id = message.message_id()?;
        let command = map(message.parse()?);
        Ok(Outgoing {
            exchange: self.exchange,
            envelope: Envelope {
                message_id: self.command_id(event_id),
                message_type: To::TYPE.into(),
                correlation_id: message.correlation_id().map_or_else(|| event_id.to_string(), str::to_owned),
                causation_id: Some(event_id),
                traceparent: child_traceparent(message.traceparent()),
                timestamp: message.timestamp().unwrap_or_default(),
                app_id: "transformer",
            },
            body: command.to_json().into_bytes(),
        })
    }

    /// The same event always makes the same command, so a second copy can be told from a second request.
    fn command_id(&self, event_id: Uuid) -> Uuid {
        Uuid::new_v5(&event_id, self.name.as_bytes())
    }
}
