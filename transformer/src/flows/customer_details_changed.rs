//! `CustomerDetailsChanged` → `UpdateCustomer`: Marketing keeps the newest details of the Web Store's customers.

use contracts::{
    CustomerDetailsChanged, UpdateCustomer,
    topology::{Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED},
};

use crate::flow::Flow;

pub(super) struct UpdateChangedCustomer;

impl Flow for UpdateChangedCustomer {
    type Event = CustomerDetailsChanged;
    type Command = UpdateCustomer;

    const NAME: &'static str = "customer-details-changed-to-update-customer";
    const QUEUE: Queue = TRANSFORMER_CUSTOMER_DETAILS_CHANGED;

    fn translate(event: CustomerDetailsChanged) -> Option<UpdateCustomer> {
        Some(UpdateCustomer {
            customer_id: event.customer_id,
            version: event.version,
            full_name: event.name,
            email_address: event.email,
            email_opt_in: event.marketing_consent,
            source: "web-store".to_owned(),
            customer_since: event.registered_at,
            changed_at: event.changed_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CustomerDetailsChanged, Message, UpdateCustomer,
        test_util::{assert_valid, valid, validator},
    };
    use proptest::prelude::*;

    use super::{Flow, UpdateChangedCustomer};

    #[test]
    fn sample_event_gives_sample_command() {
        let event = include_str!("../../../contracts/samples/web-store.customer-details-changed.v1.json");
        let command = include_str!("../../../contracts/samples/marketing.update-customer.v1.json");
        let event = serde_json::from_str(event).unwrap();
        assert_eq!(UpdateChangedCustomer::translate(event), Some(serde_json::from_str(command).unwrap()));
    }

    #[test]
    fn every_valid_event_gives_valid_command() {
        let validator = validator::<UpdateCustomer>();
        proptest!(|(event in valid::<CustomerDetailsChanged>())| {
            assert_valid(&validator, &UpdateChangedCustomer::translate(event).unwrap().to_json());
        });
    }
}
