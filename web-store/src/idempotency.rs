//! Idempotency keys: a request that is sent twice under one key registers one customer.
//!
//! A key comes from the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) or from a
//! hidden field of the form.

use axum::http::HeaderMap;
use uuid::Uuid;

use crate::customer::Customer;

const HEADER: &str = "idempotency-key";

/// More than any UUID, hash, or name needs.
const MAX_KEY_LENGTH: usize = 255;

/// Hashes of an idempotency key and of the request that was sent under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdempotencyRecord {
    /// UUID v5 of the key. Column `idempotency_key`.
    pub(crate) key_hash: Uuid,
    /// UUID v5 of the parsed fields. Column `request`.
    pub(crate) request_fingerprint: Uuid,
}

/// The header `Idempotency-Key` has a value that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key has to be 1 to 255 visible ASCII characters, such as a UUID.")]
pub(crate) struct InvalidIdempotencyKey;

impl IdempotencyRecord {
    pub(crate) fn new(key: &str, customer: &Customer) -> Self {
        let Customer { name, email, marketing_consent, .. } = customer;
        // The separator is a control character, which no field can contain.
        let request = format!("{}\n{}\n{marketing_consent}", name.as_str(), email.as_str());
        let hash = |text: &str| Uuid::new_v5(&Uuid::nil(), text.as_bytes());
        Self { key_hash: hash(key), request_fingerprint: hash(&request) }
    }
}

/// Returns the key of a request, if it has one. The header takes precedence over the form.
///
/// The draft requires quotes around the key. Many clients omit them, so both are accepted.
///
/// # Errors
/// Returns [`InvalidIdempotencyKey`] if the header is not 1 to 255 visible ASCII characters.
pub(crate) fn idempotency_key<'a>(
    headers: &'a HeaderMap,
    form_key: &'a str,
) -> Result<Option<&'a str>, InvalidIdempotencyKey> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(Some(form_key).filter(|key| !key.is_empty()));
    };
    let text = value.to_str().unwrap_or("");
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=MAX_KEY_LENGTH).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(key))
    } else {
        Err(InvalidIdempotencyKey)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{HEADER, idempotency_key};

    #[test]
    fn key_is_read_with_or_without_quotes_header_first() {
        assert_eq!(idempotency_key(&HeaderMap::new(), "form"), Ok(Some("form")));
        assert_eq!(idempotency_key(&HeaderMap::new(), ""), Ok(None));
        for text in ["\"8e03978e\"", "8e03978e"] {
            let headers = [(HEADER.parse().unwrap(), HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(idempotency_key(&headers, "form"), Ok(Some("8e03978e")));
        }
    }

    #[test]
    fn malformed_key_is_refused() {
        for text in ["", "\"\"", "two words", "é", &"x".repeat(256)] {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let headers = [(HEADER.parse().unwrap(), value)].into_iter().collect();
            assert!(idempotency_key(&headers, "").is_err(), "{text}");
        }
    }
}
