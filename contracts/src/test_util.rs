//! Validators and random valid messages, for the tests of writers and readers.

use std::fmt::Debug;

use chrono::{DateTime, SecondsFormat, Utc};
use jsonschema::Validator;
use proptest::{prelude::*, string::string_regex};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Message, generated, patterns};

/// Returns a validator for a message's schema. It also checks formats.
#[must_use]
pub fn validator<M: Message>() -> Validator {
    named_validator(M::TYPE)
}

/// Returns a validator for the schema with this name in [`generated::schemas`].
#[must_use]
pub fn named_validator(name: &str) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema(name)).expect("the schema is valid")
}

fn schema(name: &str) -> Value {
    let found = generated::schemas().into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no schema is named {name}")).1
}

/// Panics if a body does not match its contract.
pub fn assert_valid(validator: &Validator, body: &str) {
    let body: Value = serde_json::from_str(body).expect("the body is JSON");
    let errors: Vec<_> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {body:#}");
}

/// Returns a strategy for all messages that the schema allows.
///
/// It is derived from the schema, so a changed contract needs no change here.
pub fn valid<M: Message + Debug>() -> impl Strategy<Value = M> {
    let parse =
        |message| serde_json::from_value(message).expect("a message that the schema allows is parsed");
    object(&schema(M::TYPE)).prop_map(parse)
}

/// Returns a strategy for objects with all required fields and any of the optional ones.
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
    // The type of an optional field is a list of its type and `null`.
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" => object(schema),
        "array" => {
            let bound = |name: &str, default: usize| {
                schema[name].as_u64().map_or(default, |limit| limit.try_into().expect("a small limit"))
            };
            // Longer arrays only take more time.
            let (low, high) = (bound("minItems", 0), bound("maxItems", usize::MAX));
            let items = prop::collection::vec(value(&schema["items"]), low..=high.min(low + 9));
            items.prop_map(Value::from).boxed()
        }
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let low = limit("minimum").unwrap_or(0);
            let high = limit("maximum").unwrap_or(i64::MAX);
            prop_oneof![low..=high, Just(low), Just(high), low..=high.min(low + 9)]
                .prop_map(Value::from)
                .boxed()
        }
        "string" => {
            let low = limit("minLength").unwrap_or(0);
            let high = limit("maxLength").unwrap_or(i64::MAX);
            let fits = move |text: &String| (low..=high).contains(&length(text));
            text(schema).prop_filter("too short or too long", fits).prop_map(Value::from).boxed()
        }
        other => panic!("no strategy for the type {other}: add one here"),
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
            string_regex(pattern).expect("the pattern is valid").boxed()
        }
        (_, None) => any::<String>().boxed(),
    }
}

fn length(text: &str) -> i64 {
    text.chars().count().try_into().unwrap_or(i64::MAX)
}

/// Returns a strategy for lines: 1 to 200 characters of any script, without control characters, and not white
/// space alone.
pub fn lines() -> impl Strategy<Value = String> {
    let line = |length| prop::collection::vec(character(), length).prop_map(String::from_iter);
    prop_oneof![9 => line(1..=200), 1 => line(200..=200)]
        .prop_filter("white space", |line: &String| !line.trim().is_empty())
}

/// Returns a strategy for the e-mail addresses that Marketing accepts: 3 to 254 characters.
pub fn emails() -> impl Strategy<Value = String> {
    let part = |length| {
        let character = character().prop_filter("not in an address", |c| *c != '@' && !c.is_whitespace());
        prop::collection::vec(character, length).prop_map(String::from_iter)
    };
    let parts = prop_oneof![9 => (part(1..=64), part(1..=189)), 1 => (part(64..=64), part(189..=189))];
    parts.prop_map(|(local, domain): (String, String)| format!("{local}@{domain}"))
}

/// Returns a strategy for the e-mail addresses that HTML accepts, including unusual ones: up to 254 characters.
pub fn html_emails() -> impl Strategy<Value = String> {
    let local = |count| format!("[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{count}");
    let label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    let any = string_regex(&format!(r"{}@{label}(\.{label}){{0,2}}", local("{1,60}")));
    let longest = string_regex(&format!("{}@[a-z0-9]{{63}}", local("{190}")));
    prop_oneof![9 => any.expect("the pattern is valid"), 1 => longest.expect("the pattern is valid")]
}

/// Returns a strategy for the times that contracts allow: the years 1000 to 9999, in whole microseconds.
pub fn times() -> impl Strategy<Value = DateTime<Utc>> {
    let microseconds =
        |time: &str| time.parse::<DateTime<Utc>>().expect("the time is valid").timestamp_micros();
    (microseconds("1000-01-01T00:00:00Z")..=microseconds("9999-12-31T23:59:59.999999Z"))
        .prop_map(|time| DateTime::from_timestamp_micros(time).expect("the time is in chrono's range"))
}

fn character() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("a control character", |c| !c.is_control())
}
