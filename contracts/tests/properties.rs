//! Strict writers and tolerant readers. Every valid message is serialized by its schema, and readers ignore the
//! fields that a later writer adds. The schemas reject invalid values.

use std::fmt::Debug;

use contracts::{
    CreateCustomer, CustomerDetailsChanged, CustomerErased, CustomerRegistered, CustomersRequested,
    EraseCustomer, ForgetCustomer, Message, ReplayCustomers, ReplayProgressed, UpdateCustomer,
    test_util::{assert_valid, valid, validator},
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_customer_registered_matches_its_schema() {
    assert_round_trip::<CustomerRegistered>();
}

#[test]
fn every_customer_details_changed_matches_its_schema() {
    assert_round_trip::<CustomerDetailsChanged>();
}

#[test]
fn every_create_customer_matches_its_schema() {
    assert_round_trip::<CreateCustomer>();
}

#[test]
fn every_update_customer_matches_its_schema() {
    assert_round_trip::<UpdateCustomer>();
}

#[test]
fn every_customer_erased_matches_its_schema() {
    assert_round_trip::<CustomerErased>();
}

#[test]
fn every_erase_customer_matches_its_schema() {
    assert_round_trip::<EraseCustomer>();
}

#[test]
fn every_forget_customer_matches_its_schema() {
    assert_round_trip::<ForgetCustomer>();
}

#[test]
fn every_replay_customers_matches_its_schema() {
    assert_round_trip::<ReplayCustomers>();
}

#[test]
fn every_replay_progressed_matches_its_schema() {
    assert_round_trip::<ReplayProgressed>();
}

#[test]
fn every_customers_requested_matches_its_schema() {
    assert_round_trip::<CustomersRequested>();
}

fn assert_round_trip<M: Message + PartialEq + Debug>() {
    let validator = validator::<M>();
    proptest!(|(message in valid::<M>())| {
        let body = message.to_json();
        assert_valid(&validator, &body);
        prop_assert_eq!(&serde_json::from_str::<M>(&body).unwrap(), &message);

        let mut later: Value = serde_json::from_str(&body).unwrap();
        later["a_field_of_a_later_revision"] = json!({"with": ["anything", null, 1.5]});
        assert_valid(&validator, &later.to_string());
        prop_assert_eq!(serde_json::from_value::<M>(later).unwrap(), message);
    });
}

#[test]
fn schema_rejects_invalid_values() {
    let registered = (CustomerRegistered::TYPE, &validator::<CustomerRegistered>());
    let create = (CreateCustomer::TYPE, &validator::<CreateCustomer>());
    let changed = (CustomerDetailsChanged::TYPE, &validator::<CustomerDetailsChanged>());
    let erased = (CustomerErased::TYPE, &validator::<CustomerErased>());
    let forget = (ForgetCustomer::TYPE, &validator::<ForgetCustomer>());
    let replay = (ReplayCustomers::TYPE, &validator::<ReplayCustomers>());
    let progressed = (ReplayProgressed::TYPE, &validator::<ReplayProgressed>());
    let long_email = format!("{}@example.org", "x".repeat(243));
    let invalid: &[((&str, &jsonschema::Validator), &str, &[Value])] = &[
        (
            registered,
            "customer_id",
            &[json!("1"), json!(7), json!("01938c5e7b1a7c3e9f005d2a8e4b6c71"), Value::Null],
        ),
        (
            registered,
            "name",
            &[json!(""), json!("x".repeat(201)), json!(" Ann"), json!("Ann\u{2003}"), json!("a\tb")],
        ),
        (
            registered,
            "email",
            &[json!("a@"), json!(long_email), json!("a b@c"), json!("é@b"), json!("a@b..c"), json!("a@-b")],
        ),
        (registered, "marketing_consent", &[json!("yes"), json!(1)]),
        (
            registered,
            "registered_at",
            &[
                json!("2026-01-02T03:04:05Z"),
                json!("2026-02-30T03:04:05.000600Z"),
                json!("2026-01-02T03:04:60.000600Z"),
                json!("2026-01-02T05:04:05.000600+02:00"),
                json!("0999-01-02T03:04:05.000600Z"),
                json!(1_767_323_045),
            ],
        ),
        (create, "full_name", &[json!(" "), json!("\u{3000}"), json!("x".repeat(201)), json!("a\u{85}b")]),
        (
            create,
            "email_address",
            &[json!("ann"), json!("a@b@c"), json!("a@b c"), json!(long_email), json!("a@\u{0}")],
        ),
        (
            changed,
            "version",
            &[json!(1), json!(0), json!(-2), json!(2.5), json!("2"), json!(2_147_483_648_u32)],
        ),
        (create, "source", &[json!(""), json!("Web Store"), json!("x".repeat(51))]),
        (erased, "version", &[json!(1), json!(2_147_483_648_u32)]),
        (erased, "erased_at", &[json!("2026-01-02"), Value::Null]),
        (forget, "source", &[json!(""), json!("Web Store")]),
        (replay, "queue", &[json!(""), json!("a queue"), json!("x".repeat(256))]),
        (replay, "event_types", &[json!([]), json!("x"), json!(["registered"]), json!([1])]),
        (replay, "customers", &[json!([]), json!([{}]), json!([{"customer_id": 1}])]),
        (progressed, "state", &[json!("done"), json!("RUNNING")]),
        (progressed, "published", &[json!(-1), json!(1.5)]),
    ];
    for ((message_type, validator), field, values) in invalid {
        let sample = format!("{}/samples/{message_type}.json", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(sample).unwrap()).unwrap();
        assert!(validator.is_valid(&sample));
        for value in *values {
            let mut body = sample.clone();
            body[*field] = value.clone();
            assert!(!validator.is_valid(&body), "{field} of {message_type}: {value}");
            body.as_object_mut().unwrap().shift_remove(*field);
            let optional = ["event_types", "customers"].contains(field);
            assert_eq!(validator.is_valid(&body), optional, "without {field}");
        }
    }
}
