//! Marketing accepts exactly the commands that their contracts allow.

use contracts::{
    CreateCustomer, UpdateCustomer,
    test_util::{emails, lines, valid, validator},
};
use marketing::customer::Customer;
use proptest::prelude::*;

proptest! {
    #[test]
    fn create_command_within_contract_is_accepted(command in valid::<CreateCustomer>()) {
        prop_assert!(Customer::created(command).is_ok());
    }

    #[test]
    fn update_command_within_contract_is_accepted(command in valid::<UpdateCustomer>()) {
        prop_assert!(Customer::updated(command).is_ok());
    }
}

#[test]
fn only_commands_outside_contract_are_rejected() {
    let contract = validator::<CreateCustomer>();
    let sample = include_str!("../../contracts/samples/marketing.create-customer.v1.json");
    let sample: CreateCustomer = serde_json::from_str(sample).unwrap();
    let allows = |command: &CreateCustomer| contract.is_valid(&serde_json::to_value(command).unwrap());
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
