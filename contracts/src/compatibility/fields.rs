//! The fields of a message, compared: which are gone, which are new, and what became of the others.

use serde_json::Value;

use super::{Breakage, Change, FREE, all_keys};

pub(super) fn compare(path: &str, released: &Value, current: &Value, found: &mut Vec<Breakage>) {
    let (before, after) = (&released["properties"], &current["properties"]);
    let is_new = |name: &str| before.get(name).is_none();
    let mut renamed = Vec::new();
    for name in all_keys(before, after) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let change = match (before.get(name), after.get(name)) {
            (Some(field), None) => {
                let alike =
                    |other: &&str| is_new(other) && !renamed.contains(other) && alike(field, &after[*other]);
                match all_keys(after, &Value::Null).find(alike) {
                    Some(other) => {
                        renamed.push(other);
                        Some(Change::Renamed(other.to_owned()))
                    }
                    None => Some(Change::Removed),
                }
            }
            (Some(field), Some(now)) => {
                super::compare(&path, field, now, found);
                match (requires(released, name), requires(current, name)) {
                    (false, true) => Some(Change::MadeRequired),
                    (true, false) => Some(Change::MadeOptional),
                    _ => None,
                }
            }
            (None, _) => {
                (requires(current, name) && !renamed.contains(&name)).then_some(Change::MadeRequired)
            }
        };
        found.extend(change.map(|change| Breakage::new(&path, change)));
    }
}

/// Whether two fields differ in their texts only.
fn alike(one: &Value, other: &Value) -> bool {
    all_keys(one, other)
        .filter(|keyword| *keyword != "description" && !FREE.contains(keyword))
        .all(|keyword| one.get(keyword) == other.get(keyword))
}

fn requires(schema: &Value, field: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field))
}
