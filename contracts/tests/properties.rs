//! Strict writers and tolerant readers: over all valid values, what is written is what the schema says, and
//! what a later writer adds is ignored. And the schema says no to what is not allowed.

use std::fmt::Debug;

use contracts::{
    CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer,
    test_util::{assert_valid, valid, validator},
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_customer_registered_is_written_as_its_schema_says_and_read_again() {
    every_valid_one_is_written_and_read::<CustomerRegistered>();
}

#[test]
fn every_customer_details_changed_is_written_as_its_schema_says_and_read_again() {
    every_valid_one_is_written_and_read::<CustomerDetailsChanged>();
}

#[test]
fn every_create_customer_is_written_as_its_schema_says_and_read_again() {
    every_valid_one_is_written_and_read::<CreateCustomer>();
}

#[test]
fn every_update_customer_is_written_as_its_schema_says_and_read_again() {
    every_valid_one_is_written_and_read::<UpdateCustomer>();
}

fn every_valid_one_is_written_and_read<M: Message + PartialEq + Debug>() {
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
fn a_schema_refuses_what_its_contract_does_not_allow() {
    let registered = (CustomerRegistered::TYPE, &validator::<CustomerRegistered>());
    let create = (CreateCustomer::TYPE, &validator::<CreateCustomer>());
    let changed = (CustomerDetailsChanged::TYPE, &validator::<CustomerDetailsChanged>());
    let long_email = format!("{}@example.org", "x".repeat(243));
    let refused: &[((&str, &jsonschema::Validator), &str, &[Value])] = &[
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
            &[json!("nobody"), json!("a@b@c"), json!("a@b c"), json!(long_email), json!("a@\u{0}")],
        ),
        (
            changed,
            "version",
            &[json!(1), json!(0), json!(-2), json!(2.5), json!("2"), json!(2_147_483_648_u32)],
        ),
        (create, "source", &[json!(""), json!("Web Store"), json!("x".repeat(51))]),
    ];
    for ((message_type, validator), field, values) in refused {
        let sample = format!("{}/samples/{message_type}.json", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(sample).unwrap()).unwrap();
        assert!(validator.is_valid(&sample));
        for value in *values {
            let mut body = sample.clone();
            body[*field] = value.clone();
            assert!(!validator.is_valid(&body), "{field} of {message_type}: {value}");
            body.as_object_mut().unwrap().shift_remove(*field);
            assert!(!validator.is_valid(&body), "without {field}");
        }
    }
}
