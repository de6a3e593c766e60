//! The body that an operator has edited.
//!
//! - JSON gets its short form once, with the same value. Another text stays as it is.
//! - A body that an operator opens and sends without a change is the same body.

use console::dead_letters::{compact, readable};
use serde_json::Value;

pub(crate) fn check(edited: &[u8]) {
    let body = compact(edited);
    assert_eq!(compact(&body), body);
    match serde_json::from_slice::<Value>(edited) {
        Ok(value) => assert_eq!(serde_json::from_slice::<Value>(&body).ok(), Some(value)),
        Err(_) => assert_eq!(body, edited),
    }
    if let Some(shown) = readable(&body) {
        assert_eq!(compact(shown.as_bytes()), body);
    }
}
