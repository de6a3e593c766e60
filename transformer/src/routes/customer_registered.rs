//! `CustomerRegistered` becomes `CreateCustomer`: who registers in the Web Store is Marketing's customer.

use contracts::{CreateCustomer, CustomerRegistered, topology};

use crate::route::Route;

pub(super) const ROUTE: Route = Route {
    name: "customer-registered-to-create-customer",
    queue: topology::TRANSFORMER_CUSTOMER_REGISTERED,
    exchange: topology::MARKETING_COMMANDS,
    translate: |route, message| route.map(message, create_customer),
};

fn create_customer(event: CustomerRegistered) -> CreateCustomer {
    CreateCustomer {
        customer_id: event.customer_id,
        full_name: event.name,
        email_address: event.email,
        email_opt_in: event.marketing_consent,
        source: "web-store".to_owned(),
        customer_since: event.registered_at,
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CreateCustomer, CustomerRegistered, Message,
        test_util::{assert_valid, valid, validator},
    };
    use proptest::prelude::*;

    use super::create_customer;

    #[test]
    fn a_registered_customer_is_to_be_created_in_marketing() {
        let event = include_str!("../../../contracts/samples/web-store.customer-registered.v1.json");
        let command = include_str!("../../../contracts/samples/marketing.create-customer.v1.json");
        let event = serde_json::from_str(event).unwrap();
        assert_eq!(create_customer(event), serde_json::from_str(command).unwrap());
    }

    #[test]
    fn every_valid_event_makes_a_valid_command() {
        let allowed = validator::<CreateCustomer>();
        proptest!(|(event in valid::<CustomerRegistered>())| {
            assert_valid(&allowed, &create_customer(event).to_json());
        });
    }
}
