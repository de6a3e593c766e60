//! Strict writers and tolerant readers: over all valid values, what is written is what the schema says, and
//! what a later writer adds is ignored. And the schema says no to what is not allowed.

use contracts::{
    CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer,
    testing::{
        assert_valid, create_customer, customer_details_changed, customer_registered, update_customer,
        validator,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{fmt::Debug, sync::LazyLock};

fn assert_written_and_read<M: Message + PartialEq + Debug>(message: &M, validator: &jsonschema::Validator) {
    let body = message.to_json();
    assert_valid(validator, &body);
    assert_eq!(serde_json::from_str::<M>(&body).unwrap(), *message);

    let mut later: Value = serde_json::from_str(&body).unwrap();
    later["a_field_of_a_later_revision"] = json!({"with": ["anything", null, 1.5]});
    assert_valid(validator, &later.to_string());
    assert_eq!(serde_json::from_value::<M>(later).unwrap(), *message);
}

static REGISTERED: LazyLock<jsonschema::Validator> = LazyLock::new(validator::<CustomerRegistered>);
static CHANGED: LazyLock<jsonschema::Validator> = LazyLock::new(validator::<CustomerDetailsChanged>);
static UPDATE: LazyLock<jsonschema::Validator> = LazyLock::new(validator::<UpdateCustomer>);
static CREATE: LazyLock<jsonschema::Validator> = LazyLock::new(validator::<CreateCustomer>);

proptest! {
    #[test]
    fn every_customer_registered_is_written_as_its_schema_says_and_read_again(event in customer_registered()) {
        assert_written_and_read(&event, &REGISTERED);
    }

    #[test]
    fn every_create_customer_is_written_as_its_schema_says_and_read_again(command in create_customer()) {
        assert_written_and_read(&command, &CREATE);
    }

    #[test]
    fn every_customer_details_changed_is_written_as_its_schema_says_and_read_again(
        event in customer_details_changed()
    ) {
        assert_written_and_read(&event, &CHANGED);
    }

    #[test]
    fn every_update_customer_is_written_as_its_schema_says_and_read_again(command in update_customer()) {
        assert_written_and_read(&command, &UPDATE);
    }
}

#[test]
fn a_schema_refuses_what_its_contract_does_not_allow() {
    let registered = ("web-store.customer-registered.v1", &*REGISTERED);
    let create = ("marketing.create-customer.v1", &*CREATE);
    let changed = ("web-store.customer-details-changed.v1", &*CHANGED);
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
