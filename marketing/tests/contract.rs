//! Marketing takes what the contracts of its commands allow, and nothing else.

use contracts::{
    CreateCustomer, UpdateCustomer,
    test_util::{emails, lines, valid, validator},
};
use marketing::customer::Customer;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_command_that_the_contract_allows_is_carried_out(command in valid::<CreateCustomer>()) {
        prop_assert!(Customer::created(command).is_ok());
    }

    #[test]
    fn every_update_that_the_contract_allows_is_carried_out(command in valid::<UpdateCustomer>()) {
        prop_assert!(Customer::updated(command).is_ok());
    }
}

#[test]
fn what_the_contract_does_not_allow_is_rejected_and_nothing_else() {
    let allowed = validator::<CreateCustomer>();
    let sample = include_str!("../../contracts/samples/marketing.create-customer.v1.json");
    let sample: CreateCustomer = serde_json::from_str(sample).unwrap();
    let allows = |command: &CreateCustomer| allowed.is_valid(&serde_json::to_value(command).unwrap());
    let any_text =
        || prop_oneof![any::<String>(), "[ \u{3000}\t]{0,3}", "\\PC{195,205}", "\\PC{1,2}@\\PC{245,260}"];
    let config = ProptestConfig::with_cases(1000);
    proptest!(config, |(
        full_name in prop_oneof![lines(), any_text()],
        email_address in prop_oneof![emails(), any_text()],
        source in prop_oneof!["[a-z0-9-]{1,51}", any_text()],
    )| {
        let commands = [
            CreateCustomer { full_name, ..sample.clone() },
            CreateCustomer { email_address, ..sample.clone() },
            CreateCustomer { source, ..sample.clone() },
        ];
        for command in commands {
            prop_assert_eq!(allows(&command), Customer::created(command.clone()).is_ok(), "{:?}", command);
        }
    });
}
