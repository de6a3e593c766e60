//! Requests that the Web Store sends events again.

use chrono::Utc;
use contracts::{Message, ReplayCustomers};
use messaging::{Envelope, Outgoing, child_traceparent};
use uuid::Uuid;

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
    let message_id = Uuid::now_v7();
    Outgoing {
        exchange: ReplayCustomers::EXCHANGE,
        envelope: Envelope {
            message_id,
            message_type: ReplayCustomers::TYPE.into(),
            correlation_id: message_id.to_string(),
            causation_id: None,
            traceparent: child_traceparent(None),
            timestamp: Utc::now(),
            app_id: "transformer",
        },
        body: replay_into(flow).to_json().into_bytes(),
    }
}
