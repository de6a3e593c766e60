//! Whatever the Web Store accepts, the event that tells of it is what the contract says.

use contracts::{
    CustomerRegistered, Message,
    test_util::{assert_valid, html_emails, lines, validator},
};
use proptest::prelude::*;
use web_store::customer::{Customer, Email, Name};

#[test]
fn every_registration_that_is_accepted_makes_a_valid_event() {
    let valid = validator::<CustomerRegistered>();
    let names = || prop_oneof![lines(), any::<String>()];
    let emails = || prop_oneof![html_emails(), "[ -~]{1,30}@[ -~]{1,70}", any::<String>()];
    proptest!(ProptestConfig::with_cases(1000), |(name in names(), email in emails(), consent in any::<bool>())| {
        if let (Ok(name), Ok(email)) = (Name::parse(&name), Email::parse(&email)) {
            assert_valid(&valid, &Customer::new(name, email, consent).registered().to_json());
        }
    });
}

#[test]
fn every_address_that_the_contract_allows_can_be_registered() {
    proptest!(|(email in html_emails(), name in lines())| {
        prop_assert!(Email::parse(&email).is_ok(), "{}", email);
        prop_assert!(Name::parse(&name).is_ok(), "{}", name);
    });
}
