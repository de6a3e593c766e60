//! `CustomerErased` → `ForgetCustomer`: Marketing forgets the customers that the Web Store has erased.

use contracts::{
    CustomerErased, ForgetCustomer,
    topology::{Queue, TRANSFORMER_CUSTOMER_ERASED},
};

use crate::flow::Flow;

pub(super) struct ForgetErasedCustomer;

impl Flow for ForgetErasedCustomer {
    type Event = CustomerErased;
    type Command = ForgetCustomer;

    const NAME: &'static str = "customer-erased-to-forget-customer";
    const QUEUE: Queue = TRANSFORMER_CUSTOMER_ERASED;

    fn translate(event: CustomerErased) -> Option<ForgetCustomer> {
        let CustomerErased { customer_id, version: _, erased_at } = event;
        Some(ForgetCustomer { customer_id, source: "web-store".to_owned(), erased_at })
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CustomerErased, ForgetCustomer, Message,
        test_util::{assert_valid, valid, validator},
    };
    use proptest::prelude::*;

    use super::{Flow, ForgetErasedCustomer};

    #[test]
    fn sample_event_gives_sample_command() {
        let event = include_str!("../../../contracts/samples/web-store.customer-erased.v1.json");
        let command = include_str!("../../../contracts/samples/marketing.forget-customer.v1.json");
        let event = serde_json::from_str(event).unwrap();
        assert_eq!(ForgetErasedCustomer::translate(event), Some(serde_json::from_str(command).unwrap()));
    }

    #[test]
    fn every_valid_event_gives_valid_command() {
        let validator = validator::<ForgetCustomer>();
        proptest!(|(event in valid::<CustomerErased>())| {
            assert_valid(&validator, &ForgetErasedCustomer::translate(event).unwrap().to_json());
        });
    }
}
