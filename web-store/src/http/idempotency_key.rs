//! The key of a request: from the header `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header), or from the form.

use axum::http::HeaderMap;

use super::submission::Submission;

const HEADER: &str = "idempotency-key";

/// More than any UUID, hash or name needs.
const CHARACTERS: usize = 255;

/// The key, if there is one. The draft has it in quotes; many clients leave them out.
///
/// # Errors
/// What the header has to be.
pub(super) fn idempotency_key<'a>(
    headers: &'a HeaderMap,
    submission: &'a Submission,
) -> Result<Option<&'a str>, String> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(Some(submission.idempotency_key.as_str()).filter(|key| !key.is_empty()));
    };
    let text = value.to_str().unwrap_or("");
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=CHARACTERS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(key))
    } else {
        Err("Idempotency-Key has to be 1 to 255 visible ASCII characters, such as a UUID.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{HEADER, Submission, idempotency_key};

    #[test]
    fn a_key_is_read_with_and_without_quotes_and_before_the_forms() {
        let form = Submission { idempotency_key: "form".into(), ..Submission::default() };
        assert_eq!(idempotency_key(&HeaderMap::new(), &form), Ok(Some("form")));
        assert_eq!(idempotency_key(&HeaderMap::new(), &Submission::default()), Ok(None));
        for text in ["\"8e03978e\"", "8e03978e"] {
            let headers = [(HEADER.parse().unwrap(), HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(idempotency_key(&headers, &form), Ok(Some("8e03978e")));
        }
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused() {
        for text in ["", "\"\"", "two words", "é", &"x".repeat(256)] {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let headers = [(HEADER.parse().unwrap(), value)].into_iter().collect();
            assert!(idempotency_key(&headers, &Submission::default()).is_err(), "{text}");
        }
    }
}
