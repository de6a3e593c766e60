//! For the tests of whoever writes or reads messages: a validator, and any valid message.

use chrono::{DateTime, Utc};
use jsonschema::Validator;
use proptest::{prelude::*, string::string_regex};
use serde_json::Value;
use uuid::Uuid;

use crate::{CreateCustomer, CustomerDetailsChanged, CustomerRegistered, Message, UpdateCustomer, documents};

/// A validator of what a message's schema says, formats included.
#[must_use]
pub fn validator<M: Message>() -> Validator {
    named_validator(M::TYPE)
}

/// The same, of a schema by its name in [`documents::schemas`].
#[must_use]
pub fn named_validator(name: &str) -> Validator {
    let schemas = documents::schemas();
    let (_, schema) = schemas.iter().find(|(known, _)| known == name).expect("a schema of this name");
    jsonschema::options().should_validate_formats(true).build(schema).expect("a schema")
}

/// Fails unless a body is what its contract says.
pub fn assert_valid(validator: &Validator, body: &str) {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let errors: Vec<_> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {body:#}");
}

/// Any valid event.
pub fn customer_registered() -> impl Strategy<Value = CustomerRegistered> {
    let fields = (ids(), trimmed_lines(), html_emails(), any::<bool>(), times());
    fields.prop_map(|(customer_id, name, email, marketing_consent, registered_at)| CustomerRegistered {
        customer_id,
        name,
        email,
        marketing_consent,
        registered_at,
    })
}

/// Any valid event.
pub fn customer_details_changed() -> impl Strategy<Value = CustomerDetailsChanged> {
    (customer_registered(), versions(), times()).prop_map(|(before, version, changed_at)| {
        let CustomerRegistered { customer_id, name, email, marketing_consent, registered_at } = before;
        CustomerDetailsChanged {
            customer_id,
            version,
            name,
            email,
            marketing_consent,
            registered_at,
            changed_at,
        }
    })
}

/// Any valid command.
pub fn create_customer() -> impl Strategy<Value = CreateCustomer> {
    let fields = (ids(), lines(), emails(), any::<bool>(), sources(), times());
    fields.prop_map(|(customer_id, full_name, email_address, email_opt_in, source, customer_since)| {
        CreateCustomer { customer_id, full_name, email_address, email_opt_in, source, customer_since }
    })
}

/// Any valid command.
pub fn update_customer() -> impl Strategy<Value = UpdateCustomer> {
    (create_customer(), versions(), times()).prop_map(|(before, version, changed_at)| {
        let CreateCustomer { customer_id, full_name, email_address, email_opt_in, source, customer_since } =
            before;
        UpdateCustomer {
            customer_id,
            version,
            full_name,
            email_address,
            email_opt_in,
            source,
            customer_since,
            changed_at,
        }
    })
}

/// Any version but the first.
pub fn versions() -> impl Strategy<Value = u32> {
    prop_oneof![2..=9_u32, 2..=2_147_483_647_u32, Just(2_147_483_647)]
}

/// Any identity.
pub fn ids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// 1 to 200 characters of any script, but no control characters, and not white space alone.
pub fn lines() -> impl Strategy<Value = String> {
    let line = |length| prop::collection::vec(character(), length).prop_map(String::from_iter);
    prop_oneof![9 => line(1..=200), 1 => line(200..=200)]
        .prop_filter("white space", |line: &String| !line.trim().is_empty())
}

/// The same, without white space at either end.
pub fn trimmed_lines() -> impl Strategy<Value = String> {
    lines().prop_map(|line| line.trim().to_owned())
}

/// What Marketing takes for an address: 3 to 254 characters.
pub fn emails() -> impl Strategy<Value = String> {
    let part = |length| {
        let character = character().prop_filter("not in an address", |c| *c != '@' && !c.is_whitespace());
        prop::collection::vec(character, length).prop_map(String::from_iter)
    };
    let parts = prop_oneof![9 => (part(1..=64), part(1..=189)), 1 => (part(64..=64), part(189..=189))];
    parts.prop_map(|(local, domain): (String, String)| format!("{local}@{domain}"))
}

/// Addresses as HTML has them, odd ones among them: up to 254 characters.
pub fn html_emails() -> impl Strategy<Value = String> {
    let local = |count| format!("[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{count}");
    let label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    let any = string_regex(&format!(r"{}@{label}(\.{label}){{0,2}}", local("{1,60}")));
    let longest = string_regex(&format!("{}@[a-z0-9]{{63}}", local("{190}")));
    prop_oneof![9 => any.expect("a pattern"), 1 => longest.expect("a pattern")]
}

/// Names of applications.
pub fn sources() -> impl Strategy<Value = String> {
    string_regex("[a-z0-9-]{1,50}").expect("a pattern")
}

/// Any time that contracts allow: the years 1000 to 9999, in whole microseconds.
pub fn times() -> impl Strategy<Value = DateTime<Utc>> {
    let microseconds = |time: &str| time.parse::<DateTime<Utc>>().expect("a time").timestamp_micros();
    (microseconds("1000-01-01T00:00:00Z")..=microseconds("9999-12-31T23:59:59.999999Z"))
        .prop_map(|time| DateTime::from_timestamp_micros(time).expect("within chrono's range"))
}

fn character() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("a control character", |c| !c.is_control())
}
