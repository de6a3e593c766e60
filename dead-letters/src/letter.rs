//! A dead letter and its id.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use messaging::Incoming;
use serde::{Deserialize, Serialize, Serializer, de};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The suffix of a dead-letter queue.
pub(crate) const DEAD_LETTERS: &str = ".dead-letters";

/// The header of a kept letter with its dead-letter queue.
pub(crate) const KEPT_FROM: &str = "console-kept-from";

/// The header of a kept letter with the id of the operation that keeps it.
pub const KEPT_BY: &str = "console-kept-by";

/// The identity of a letter: the first 128 bits of the SHA-256 of its queue, properties, headers, and body.
///
/// A message can become a dead letter several times, and it may have no id of its own. Two letters with the same id are
/// copies, and every operation treats them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(u128);

/// The text is no id of a letter.
#[derive(Debug, thiserror::Error)]
#[error("a letter's id has 32 hexadecimal digits")]
pub struct InvalidLetterId;

impl LetterId {
    /// The number of digits that a table shows. Commands accept any unique prefix.
    const SHORT: usize = 12;

    /// Returns the first digits of the id.
    #[must_use]
    pub fn short(self) -> String {
        self.to_string()[..Self::SHORT].to_owned()
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        let digits = Some(text).filter(|text| text.len() == 32);
        digits.and_then(|text| u128::from_str_radix(text, 16).ok()).map(Self).ok_or(InvalidLetterId)
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The facts of a letter, without its personal data.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    /// The identity of the letter.
    pub id: LetterId,
    /// The queue from which the message was rejected.
    pub queue: String,
    /// The code of the reason, or `no-reason`.
    pub reason: String,
    /// The time of the rejection, or `None` if the broker has dead-lettered the message.
    pub rejected_at: Option<DateTime<Utc>>,
    /// The service and the release that rejected the message.
    pub rejected_by: Option<String>,
    /// The id of the message, as its property has it.
    pub message_id: Option<String>,
    /// The type of the message, or an empty text without one.
    pub message_type: String,
    /// The size of the body in bytes.
    pub bytes: usize,
}

impl Letter {
    /// Returns the facts of a message in the queue `place`, which has dead letters or kept letters.
    #[must_use]
    pub fn of(place: &str, message: &Incoming) -> Self {
        let dead_letters = message.header(KEPT_FROM).unwrap_or(place);
        let properties = message.properties_as_json();
        let message_id = properties.get("message_id").and_then(serde_json::Value::as_str);
        Self {
            id: id(dead_letters, message),
            queue: dead_letters.strip_suffix(DEAD_LETTERS).unwrap_or(dead_letters).to_owned(),
            reason: message.rejection_code().unwrap_or("no-reason").to_owned(),
            rejected_at: message.rejected_at(),
            rejected_by: message.rejected_by().map(str::to_owned),
            message_id: message_id.map(str::to_owned),
            message_type: message.message_type().to_owned(),
            bytes: message.body().len(),
        }
    }
}

/// Returns the id of a letter. It is the same for a kept letter as for the dead letter.
fn id(dead_letters: &str, message: &Incoming) -> LetterId {
    let headers = message.headers_as_json();
    let headers = headers.as_object().into_iter().flatten();
    let headers: Vec<_> =
        headers.filter(|(name, _)| ![KEPT_FROM, KEPT_BY].contains(&name.as_str())).collect();
    let head = json!([dead_letters, message.properties_as_json(), headers]);
    let mut hash = Sha256::new();
    hash.update(head.to_string());
    hash.update(message.body());
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.split_at(16);
    LetterId(first.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use messaging::MessageCopy;

    use super::{KEPT_BY, KEPT_FROM, Letter, LetterId};

    #[test]
    fn id_changes_with_queue_header_and_body_only() {
        let letter = MessageCopy::new(b"{}".to_vec()).with_header("rejection-code", "not-json");
        let id = |place, copy: &MessageCopy| Letter::of(place, &copy.received()).id;
        let original = id("a.dead-letters", &letter);
        assert_eq!(id("a.dead-letters", &letter), original);
        assert_ne!(id("b.dead-letters", &letter), original);
        assert_ne!(id("a.dead-letters", &letter.clone().with_header("x", "y")), original);
        assert_ne!(id("a.dead-letters", &letter.clone().with_body(b"[]".to_vec())), original);
        let kept = letter.with_header(KEPT_FROM, "a.dead-letters").with_header(KEPT_BY, "operation");
        assert_eq!(id("console.kept", &kept), original);
        assert_eq!(Letter::of("console.kept", &kept.received()).queue, "a");
        assert_eq!(original.to_string().parse::<LetterId>().unwrap(), original);
    }
}
