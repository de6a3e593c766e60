//! Compares a contract with its released revisions, in structure and in meaning.
//!
//! During an upgrade, old and new writers and readers use the same contract. Queues contain messages of both
//! versions. The rule therefore protects both sides: a released major version may only gain optional fields.

mod breakage;
mod fields;

use serde_json::Value;

pub use breakage::{Breakage, Change};

/// The keywords that may change at any time, because no reader or writer relies on them.
const IGNORED_KEYWORDS: [&str; 3] = ["examples", "$schema", "title"];

/// Returns the changes that can break readers or writers of a released contract.
///
/// Both arguments are JSON Schemas, as returned by [`crate::generated::schemas`].
#[must_use]
pub fn breakages(released: &Value, current: &Value) -> Vec<Breakage> {
    let mut found = Vec::new();
    compare("", released, current, &mut found);
    found
}

/// Compares two schemas and the schemas within them. `path` is the field's, and empty for the message itself.
fn compare(path: &str, released: &Value, current: &Value, found: &mut Vec<Breakage>) {
    for keyword in all_keys(released, current).filter(|keyword| !IGNORED_KEYWORDS.contains(keyword)) {
        match (keyword, released.get(keyword), current.get(keyword)) {
            (_, before, after) if before == after => {}
            ("properties" | "required", ..) => {}
            ("items", Some(before), Some(after)) => compare(&format!("{path}[]"), before, after, found),
            (keyword, before, after) => {
                let details =
                    format!("`{keyword}`: {} became {}", display_value(before), display_value(after));
                found.push(Breakage::new(path, classify(keyword, before, after, details)));
            }
        }
    }
    fields::compare(path, released, current, found);
}

/// Classifies the change of a keyword's value.
fn classify(keyword: &str, before: Option<&Value>, after: Option<&Value>, details: String) -> Change {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    let widened = match keyword {
        "type" => return Change::Retyped(details),
        "format" if before.is_some() && after.is_some() => return Change::Retyped(details),
        "description" => return Change::MeaningChanged(details),
        keyword if keyword.starts_with("x-") => return Change::MeaningChanged(details),
        "minLength" | "minimum" | "minItems" => number(after) < number(before),
        "maxLength" | "maximum" | "maxItems" => {
            after.is_none() || (before.is_some() && number(after) > number(before))
        }
        "enum" => {
            let choices = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
            match (choices(before), choices(after)) {
                (Some(before), Some(after)) => before.iter().all(|choice| after.contains(choice)),
                (_, after) => after.is_none(),
            }
        }
        // The other keywords limit the values. Whether one pattern allows fewer values than another cannot be
        // decided in general. Any change therefore counts as narrower.
        _ => after.is_none(),
    };
    if widened { Change::Widened(details) } else { Change::Narrowed(details) }
}

fn all_keys<'a>(one: &'a Value, other: &'a Value) -> impl Iterator<Item = &'a str> {
    let keys = |value: &'a Value| value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    keys(one).chain(keys(other).filter(|key| one.get(key).is_none()))
}

fn display_value(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
