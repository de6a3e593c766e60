//! The messages of a version: its event, the command that the event becomes, and their queues.

use contracts::{
    CustomerDetailsChanged, CustomerRegistered, Message,
    topology::{QUEUES, Queue},
};
use transformer::{flow::FlowEntry, flows::FLOWS};
use uuid::Uuid;

/// Returns the type of the event of a version.
pub(super) fn event_type(is_registration: bool) -> &'static str {
    if is_registration { CustomerRegistered::TYPE } else { CustomerDetailsChanged::TYPE }
}

fn flow(is_registration: bool) -> Option<&'static FlowEntry> {
    FLOWS.iter().find(|flow| flow.event_type == event_type(is_registration))
}

/// Returns the id of the command that an event becomes.
pub(crate) fn command_id(event: Uuid, is_registration: bool) -> Option<Uuid> {
    flow(is_registration).map(|flow| flow.command_id(event))
}

/// Returns the queues through which a version passes, in their order.
pub(super) fn queues(is_registration: bool) -> impl Iterator<Item = &'static Queue> {
    let flow = flow(is_registration);
    let is_on_way = move |queue: &&Queue| {
        flow.is_some_and(|flow| queue.name == flow.queue.name || queue.routing_key == flow.command_type)
    };
    QUEUES.iter().filter(is_on_way)
}

#[cfg(test)]
mod tests {
    use contracts::topology::{
        MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
        TRANSFORMER_CUSTOMER_REGISTERED,
    };

    use super::queues;

    #[test]
    fn version_passes_queues_of_its_event_and_command() {
        let registration = [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER];
        assert!(queues(true).eq(&registration));
        let change = [TRANSFORMER_CUSTOMER_DETAILS_CHANGED, MARKETING_UPDATE_CUSTOMER];
        assert!(queues(false).eq(&change));
    }
}
