//! `CustomersRequested` → `ReplayCustomers`: Marketing has missed commands, and the Web Store sends their events again.
//!
//! The events go into the queue of the flow that makes these commands. They become the same commands again.

use contracts::{
    CustomersRequested, ReplayCustomers,
    topology::{Queue, TRANSFORMER_CUSTOMERS_REQUESTED},
};

use super::FLOWS;
use crate::{
    flow::{Direction, Flow},
    replay::replay_into,
};

pub(super) struct ReplayRequestedCustomers;

impl Flow for ReplayRequestedCustomers {
    type Event = CustomersRequested;
    type Command = ReplayCustomers;

    const NAME: &'static str = "customers-requested-to-replay-customers";
    const QUEUE: Queue = TRANSFORMER_CUSTOMERS_REQUESTED;
    const DIRECTION: Direction = Direction::TargetToSource;

    /// Returns `None` for a type of command that no flow makes. Another application sends these commands.
    fn translate(event: CustomersRequested) -> Option<ReplayCustomers> {
        FLOWS.iter().find(|flow| flow.command_type == event.command_type).map(replay_into)
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CreateCustomer, CustomerErased, CustomerRegistered, CustomersRequested, ForgetCustomer, Message,
        ReplayCustomers, UpdateCustomer,
        test_util::{assert_valid, validator},
        topology::{
            TRANSFORMER_CUSTOMER_DETAILS_CHANGED, TRANSFORMER_CUSTOMER_ERASED,
            TRANSFORMER_CUSTOMER_REGISTERED,
        },
    };

    use super::{FLOWS, Flow, ReplayRequestedCustomers};

    fn translate(command_type: &str) -> Option<ReplayCustomers> {
        ReplayRequestedCustomers::translate(CustomersRequested { command_type: command_type.to_owned() })
    }

    #[test]
    fn requested_command_replays_its_event_into_its_flow() {
        let replay = translate(CreateCustomer::TYPE).unwrap();
        assert_eq!(replay.queue, TRANSFORMER_CUSTOMER_REGISTERED.name);
        assert_eq!(replay.event_types, Some(vec![CustomerRegistered::TYPE.to_owned()]));
        assert_valid(&validator::<ReplayCustomers>(), &replay.to_json());
        let replay = translate(UpdateCustomer::TYPE).unwrap();
        assert_eq!(replay.queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED.name);
        let replay = translate(ForgetCustomer::TYPE).unwrap();
        assert_eq!(replay.queue, TRANSFORMER_CUSTOMER_ERASED.name);
        assert_eq!(replay.event_types, Some(vec![CustomerErased::TYPE.to_owned()]));
    }

    #[test]
    fn command_of_another_sender_is_not_requested() {
        assert_eq!(translate("marketing.delete-customer.v1"), None);
    }

    #[test]
    fn every_command_is_made_by_one_flow() {
        for flow in FLOWS {
            let makers = FLOWS.iter().filter(|other| other.command_type == flow.command_type);
            assert_eq!(makers.count(), 1, "{}", flow.command_type);
        }
    }
}
