//! `CustomerDetailsChanged` becomes `UpdateCustomer`: Marketing has its customers as they are in the Web Store.

use contracts::{CustomerDetailsChanged, UpdateCustomer, topology};

use crate::route::Route;

pub(super) const ROUTE: Route = Route {
    name: "customer-details-changed-to-update-customer",
    queue: topology::TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    exchange: topology::MARKETING_COMMANDS,
    translate: |route, message| route.map(message, update_customer),
};

fn update_customer(event: CustomerDetailsChanged) -> UpdateCustomer {
    UpdateCustomer {
        customer_id: event.customer_id,
        version: event.version,
        full_name: event.name,
        email_address: event.email,
        email_opt_in: event.marketing_consent,
        source: "web-store".to_owned(),
        customer_since: event.registered_at,
        changed_at: event.changed_at,
    }
}

#[cfg(test)]
mod tests {
    use contracts::{
        CustomerDetailsChanged, Message, UpdateCustomer,
        test_util::{assert_valid, valid, validator},
    };
    use proptest::prelude::*;

    use super::update_customer;

    #[test]
    fn a_customer_with_changed_details_is_to_be_updated_in_marketing() {
        let event = include_str!("../../../contracts/samples/web-store.customer-details-changed.v1.json");
        let command = include_str!("../../../contracts/samples/marketing.update-customer.v1.json");
        let event = serde_json::from_str(event).unwrap();
        assert_eq!(update_customer(event), serde_json::from_str(command).unwrap());
    }

    #[test]
    fn every_valid_event_makes_a_valid_command() {
        let allowed = validator::<UpdateCustomer>();
        proptest!(|(event in valid::<CustomerDetailsChanged>())| {
            assert_valid(&allowed, &update_customer(event).to_json());
        });
    }
}
