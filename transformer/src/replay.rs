//! Requests that the Web Store sends events again.

use contracts::ReplayCustomers;
use messaging::Outgoing;

use crate::flow::FlowEntry;

/// Returns the command to send all events of a flow again, into the queue of the flow.
pub(crate) fn replay_into(flow: &FlowEntry) -> ReplayCustomers {
    ReplayCustomers {
        queue: flow.queue.name.to_owned(),
        event_types: Some(vec![flow.event_type.to_owned()]),
        since: None,
        until: None,
        customers: None,
    }
}

/// Returns a new request for the events that the queue of a flow has missed.
pub(crate) fn request_for(flow: &FlowEntry) -> Outgoing {
    Outgoing::first(&replay_into(flow), "transformer")
}
