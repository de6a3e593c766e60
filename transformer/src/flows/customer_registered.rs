//! `CustomerRegistered` → `CreateCustomer`: a customer of the Web Store becomes a customer of Marketing.

use contracts::{
    CreateCustomer, CustomerRegistered,
    topology::{Queue, TRANSFORMER_CUSTOMER_REGISTERED},
};

use crate::flow::Flow;

pub(super) struct CreateRegisteredCustomer;

impl Flow for CreateRegisteredCustomer {
    type Event = CustomerRegistered;
    type Command = CreateCustomer;

    const NAME: &'static str = "customer-registered-to-create-customer";
    const QUEUE: Queue = TRANSFORMER_CUSTOMER_REGISTERED;

    fn translate(event: CustomerRegistered) -> Option<CreateCustomer> {
        Some(CreateCustomer {
            customer_id: event.customer_id,
            full_name: event.name,
            email_address: event.email,
            email_opt_in: event.marketing_consent,
            source: "web-store".to_owned(),
            customer_since: event.registered_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CreateCustomer, CustomerRegistered, Message,
        test_util::{assert_valid, valid, validator},
    };
    use proptest::prelude::*;

    use super::{CreateRegisteredCustomer, Flow};

    #[test]
    fn sample_event_gives_sample_command() {
        let event = include_str!("../../../contracts/samples/web-store.customer-registered.v1.json");
        let command = include_str!("../../../contracts/samples/marketing.create-customer.v1.json");
        let event = serde_json::from_str(event).unwrap();
        assert_eq!(CreateRegisteredCustomer::translate(event), Some(serde_json::from_str(command).unwrap()));
    }

    #[test]
    fn every_valid_event_gives_valid_command() {
        let validator = validator::<CreateCustomer>();
        proptest!(|(event in valid::<CustomerRegistered>())| {
            assert_valid(&validator, &CreateRegisteredCustomer::translate(event).unwrap().to_json());
        });
    }
}
