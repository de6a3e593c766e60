//! Whether a contract still is what was released: in structure and in meaning.
//!
//! The rule is stricter than it would have to be for one side alone: while versions change, the same contract
//! is written by new and old and read by old and new, and messages wait in queues for both. So, of a released
//! major version, nothing changes but for new optional fields.

mod breakage;
mod fields;

use serde_json::Value;

pub use breakage::{Breakage, Change};

/// What a contract may say anew at any time: nobody relies on it.
const FREE: [&str; 3] = ["examples", "$schema", "title"];

/// Says what could break readers or writers of a released contract. Both are JSON Schemas as in
/// [`crate::generated::schemas`].
#[must_use]
pub fn breakages(released: &Value, current: &Value) -> Vec<Breakage> {
    let mut found = Vec::new();
    compare("", released, current, &mut found);
    found
}

/// Compares a schema, then those within it. `path` is empty for the message itself, else a field's.
fn compare(path: &str, released: &Value, current: &Value, found: &mut Vec<Breakage>) {
    for keyword in all_keys(released, current).filter(|keyword| !FREE.contains(keyword)) {
        match (keyword, released.get(keyword), current.get(keyword)) {
            (_, before, after) if before == after => {}
            ("properties" | "required", ..) => {}
            ("items", Some(before), Some(after)) => compare(&format!("{path}[]"), before, after, found),
            (keyword, before, after) => {
                let words = format!("`{keyword}`: {} became {}", shown(before), shown(after));
                found.push(Breakage::new(path, change(keyword, before, after, words)));
            }
        }
    }
    fields::compare(path, released, current, found);
}

/// What a different value of a keyword amounts to.
fn change(keyword: &str, before: Option<&Value>, after: Option<&Value>, words: String) -> Change {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    let widened = match keyword {
        "type" => return Change::Retyped(words),
        "format" if before.is_some() && after.is_some() => return Change::Retyped(words),
        "description" => return Change::MeaningChanged(words),
        keyword if keyword.starts_with("x-") => return Change::MeaningChanged(words),
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
        // What is left limits the values somehow, and whether another pattern, say, allows for less
        // cannot be told.
        _ => after.is_none(),
    };
    if widened { Change::Widened(words) } else { Change::Narrowed(words) }
}

fn all_keys<'a>(one: &'a Value, other: &'a Value) -> impl Iterator<Item = &'a str> {
    let keys = |value: &'a Value| value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    keys(one).chain(keys(other).filter(|key| one.get(key).is_none()))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
