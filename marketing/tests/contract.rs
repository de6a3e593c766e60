//! Marketing accepts the commands that their contracts allow, except names that cannot be read.

use contracts::{
    CreateCustomer, UpdateCustomer,
    test_util::{emails, lines, valid, validator},
};
use marketing::customer::Customer;
use proptest::prelude::*;

/// Returns whether a name certainly can be read: it has a letter, digit, or symbol that is not blank, and no
/// control of the text direction.
fn is_readable(name: &str) -> bool {
    let is_blank = |c: char| matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    let is_control = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.contains(|c: char| c.is_ascii_graphic() || (c.is_alphanumeric() && !is_blank(c)))
        && !name.contains(is_control)
}

proptest! {
    // The contract allows many texts without a readable name, so most of the generated ones are skipped.
    #![proptest_config(ProptestConfig {
        max_global_rejects: 1_000_000,
        max_local_rejects: 1_000_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn create_command_within_contract_is_accepted(command in valid::<CreateCustomer>()) {
        prop_assume!(is_readable(&command.full_name));
        prop_assert!(Customer::created(command).is_ok());
    }

    #[test]
    fn update_command_within_contract_is_accepted(command in valid::<UpdateCustomer>()) {
        prop_assume!(is_readable(&command.full_name));
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
            if allows(&command) && !is_readable(&command.full_name) {
                continue;
            }
            prop_assert_eq!(allows(&command), Customer::created(command.clone()).is_ok(), "{:?}", command);
        }
    });
}
