//! Masks personal data: in a body, every text that is no id, no time, and no word of a contract.

use chrono::DateTime;
use serde_json::{Value, json};
use uuid::Uuid;

/// Fields of the contracts whose texts are never personal data.
const PUBLIC_FIELDS: [&str; 5] = ["command_type", "event_types", "queue", "source", "customer_since"];

/// Headers and properties whose texts are never personal data.
const PUBLIC_HEADERS: [&str; 19] = [
    "causation-id",
    "console-kept-by",
    "console-kept-from",
    "rejected-at",
    "rejected-by",
    "rejected-from",
    "rejection-code",
    "removed-headers",
    "traceparent",
    "type",
    "message_id",
    "correlation_id",
    "content_type",
    "app_id",
    "x-death",
    "x-first-death-reason",
    "x-first-death-queue",
    "x-last-death-reason",
    "x-last-death-queue",
];

/// Returns a text with its length only.
#[must_use]
pub fn mask(text: &str) -> String {
    format!("•••• ({} characters)", text.chars().count())
}

/// Returns a reason without the values that it quotes. A database quotes some of them.
pub(crate) fn mask_quotes(reason: &str) -> String {
    let mut masked = String::new();
    let mut quote = None;
    for c in reason.chars() {
        match quote {
            None => {
                masked.push(c);
                quote = Some(c).filter(|c| ['\'', '"', '`'].contains(c));
            }
            Some(open) if open == c => {
                masked.push('…');
                masked.push(c);
                quote = None;
            }
            Some(_) => {}
        }
    }
    masked
}

/// Masks the texts of a body.
pub fn mask_body(value: &mut Value) {
    mask_unless(value, &|field| PUBLIC_FIELDS.contains(&field));
}

/// Masks the texts of headers or properties that are not known.
pub fn mask_headers(value: &mut Value) {
    if let Some(Value::String(reason)) = value.get_mut("rejection-reason") {
        *reason = mask_quotes(reason);
    }
    mask_unless(value, &|field| field == "rejection-reason" || PUBLIC_HEADERS.contains(&field));
}

fn mask_unless(value: &mut Value, is_public: &impl Fn(&str) -> bool) {
    match value {
        Value::String(text) if !is_identifier(text) => *value = json!(mask(text)),
        Value::Array(values) => values.iter_mut().for_each(|value| mask_unless(value, is_public)),
        Value::Object(fields) => {
            let hidden = fields.iter_mut().filter(|(name, _)| !is_public(name));
            hidden.for_each(|(_, value)| mask_unless(value, is_public));
        }
        _ => {}
    }
}

/// Returns whether a text is an id or a time.
fn is_identifier(text: &str) -> bool {
    Uuid::try_parse(text).is_ok() || DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{mask_body, mask_quotes};

    #[test]
    fn quoted_values_of_reason_are_masked() {
        let reason = "Duplicate entry 'ann@example.org' for key `by_email`";
        assert_eq!(mask_quotes(reason), "Duplicate entry '…' for key `…`");
        assert_eq!(mask_quotes("version must be 2"), "version must be 2");
    }

    #[test]
    fn names_and_addresses_are_masked() {
        let mut body = json!({
            "customer_id": "0198c1f4-0000-7000-8000-000000000000", "full_name": "Ann", "source": "web-store",
            "email_opt_in": true, "unknown": [{ "phone": "123" }], "changed_at": "2026-01-02T03:04:05Z",
        });
        let before = body.clone();
        mask_body(&mut body);
        for field in ["customer_id", "source", "email_opt_in", "changed_at"] {
            assert_eq!(body[field], before[field]);
        }
        assert!(!body.to_string().contains("Ann") && !body.to_string().contains("123"), "{body}");
    }
}
