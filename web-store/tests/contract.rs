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

/// The Web Store refuses some names that its contract allows: invisible ones, and those with open direction controls.
#[test]
fn address_and_name_that_the_contract_allows_are_accepted() {
    let is_control = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    proptest!(|(email in html_emails(), name in lines())| {
        prop_assert!(Email::parse(&email).is_ok(), "{}", email);
        let visible = format!("{}x", name.chars().take(100).filter(|c| !is_control(*c)).collect::<String>());
        prop_assert!(Name::parse(&visible).is_ok(), "{}", visible);
    });
}
