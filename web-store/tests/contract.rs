//! Every accepted registration produces an event that its contract allows.

use contracts::{
    CustomerRegistered,
    test_util::{assert_valid, html_emails, lines, validator},
};
use proptest::prelude::*;
use uuid::Uuid;
use web_store::{
    customer::{Customer, Email, Name},
    version::CustomerVersion,
};

#[test]
fn accepted_registration_produces_valid_event() {
    let valid = validator::<CustomerRegistered>();
    let names = || prop_oneof![lines(), any::<String>()];
    let emails = || prop_oneof![html_emails(), "[ -~]{1,30}@[ -~]{1,70}", any::<String>()];
    proptest!(ProptestConfig::with_cases(1000), |(name in names(), email in emails(), consent in any::<bool>())| {
        if let (Ok(name), Ok(email)) = (Name::parse(&name), Email::parse(&email)) {
            let version = CustomerVersion::first(Customer::new(name, email, consent));
            assert_valid(&valid, &version.event(Uuid::now_v7(), String::new()).body);
        }
    });
}

#[test]
fn address_that_the_contract_allows_is_accepted() {
    proptest!(|(email in html_emails(), name in lines())| {
        prop_assert!(Email::parse(&email).is_ok(), "{}", email);
        prop_assert!(Name::parse(&name).is_ok(), "{}", name);
    });
}
