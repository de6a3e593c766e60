//! Compares the fields of two schemas: removed, new, and changed ones.

use serde_json::Value;

use super::{Breakage, Change, IGNORED_KEYWORDS, all_keys};

pub(super) fn compare(path: &str, released: &Value, current: &Value, found: &mut Vec<Breakage>) {
    let before = &released["properties"];
    let after = &current["properties"];
    let is_new = |name: &str| before.get(name).is_none();
    let mut renamed = Vec::new();
    for name in all_keys(before, after) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let change = match (before.get(name), after.get(name)) {
            (Some(field), None) => {
                let is_successor = |other: &&str| {
                    is_new(other) && !renamed.contains(other) && differ_only_in_text(field, &after[*other])
                };
                match all_keys(after, &Value::Null).find(is_successor) {
                    Some(successor) => {
                        renamed.push(successor);
                        Some(Change::Renamed(successor.to_owned()))
                    }
                    None => Some(Change::Removed),
                }
            }
            (Some(field), Some(current_field)) => {
                super::compare(&path, field, current_field, found);
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

/// Returns whether two fields differ at most in their texts.
fn differ_only_in_text(one: &Value, other: &Value) -> bool {
    all_keys(one, other)
        .filter(|keyword| *keyword != "description" && !IGNORED_KEYWORDS.contains(keyword))
        .all(|keyword| one.get(keyword) == other.get(keyword))
}

fn requires(schema: &Value, field: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field))
}
