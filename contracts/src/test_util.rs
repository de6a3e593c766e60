//! For the tests of whoever writes or reads messages: a validator, and any valid message.

use std::fmt::Debug;

use chrono::{DateTime, SecondsFormat, Utc};
use jsonschema::Validator;
use proptest::{prelude::*, string::string_regex};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Message, generated, patterns};

/// A validator of what a message's schema says, formats included.
#[must_use]
pub fn validator<M: Message>() -> Validator {
    named_validator(M::TYPE)
}

/// The same, of a schema by its name in [`generated::schemas`].
#[must_use]
pub fn named_validator(name: &str) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema(name)).expect("a schema")
}

fn schema(name: &str) -> Value {
    let known = generated::schemas().into_iter().find(|(known, _)| known == name);
    known.unwrap_or_else(|| panic!("no contract is named {name}")).1
}

/// Fails unless a body is what its contract says.
pub fn assert_valid(validator: &Validator, body: &str) {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let errors: Vec<_> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {body:#}");
}

/// Any message that its schema allows, whatever its fields: nothing here changes with a contract.
pub fn valid<M: Message + Debug>() -> impl Strategy<Value = M> {
    let read = |message| serde_json::from_value(message).expect("what the schema allows is read");
    object(&schema(M::TYPE)).prop_map(read)
}

/// An object with its required fields, and with or without each of the others.
fn object(schema: &Value) -> BoxedStrategy<Value> {
    let required =
        |name: &String| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
    let fields: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
    let names: Vec<String> = fields.iter().map(|(name, _)| (*name).clone()).collect();
    let values: Vec<BoxedStrategy<Option<Value>>> = fields
        .iter()
        .map(|(name, field)| {
            let value = value(field);
            if required(name) { value.prop_map(Some).boxed() } else { prop::option::of(value).boxed() }
        })
        .collect();
    values
        .prop_map(move |values| {
            let present = |(name, value): (&String, Option<Value>)| Some((name.clone(), value?));
            names.iter().zip(values).filter_map(present).collect::<Map<_, _>>().into()
        })
        .boxed()
}

fn value(schema: &Value) -> BoxedStrategy<Value> {
    let limit = |name: &str| schema[name].as_i64();
    // An optional field's type is a list, of which `null` is the other one.
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" => object(schema),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let (low, high) = (limit("minimum").unwrap_or(0), limit("maximum").unwrap_or(i64::MAX));
            prop_oneof![low..=high, Just(low), Just(high), low..=high.min(low + 9)]
                .prop_map(Value::from)
                .boxed()
        }
        "string" => {
            let (low, high) = (limit("minLength").unwrap_or(0), limit("maxLength").unwrap_or(i64::MAX));
            let fits = move |text: &String| (low..=high).contains(&length(text));
            text(schema).prop_filter("too short or too long", fits).prop_map(Value::from).boxed()
        }
        other => panic!("say here what any valid {other} is"),
    }
}

fn text(schema: &Value) -> BoxedStrategy<String> {
    match (schema["format"].as_str(), schema["pattern"].as_str()) {
        (Some("uuid"), _) => any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string()).boxed(),
        (Some("date-time"), _) => {
            times().prop_map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)).boxed()
        }
        (_, Some(patterns::LINE)) => lines().boxed(),
        (_, Some(patterns::TRIMMED_LINE)) => lines().prop_map(|line| line.trim().to_owned()).boxed(),
        (_, Some(patterns::EMAIL)) => emails().boxed(),
        (_, Some(patterns::HTML_EMAIL)) => html_emails().boxed(),
        (_, Some(pattern)) => {
            let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
            string_regex(pattern).expect("a pattern").boxed()
        }
        (_, None) => any::<String>().boxed(),
    }
}

fn length(text: &str) -> i64 {
    text.chars().count().try_into().unwrap_or(i64::MAX)
}

/// 1 to 200 characters of any script, but no control characters, and not white space alone.
pub fn lines() -> impl Strategy<Value = String> {
    let line = |length| prop::collection::vec(character(), length).prop_map(String::from_iter);
    prop_oneof![9 => line(1..=200), 1 => line(200..=200)]
        .prop_filter("white space", |line: &String| !line.trim().is_empty())
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

/// Any time that contracts allow: the years 1000 to 9999, in whole microseconds.
pub fn times() -> impl Strategy<Value = DateTime<Utc>> {
    let microseconds = |time: &str| time.parse::<DateTime<Utc>>().expect("a time").timestamp_micros();
    (microseconds("1000-01-01T00:00:00Z")..=microseconds("9999-12-31T23:59:59.999999Z"))
        .prop_map(|time| DateTime::from_timestamp_micros(time).expect("within chrono's range"))
}

fn character() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("a control character", |c| !c.is_control())
}
