//! The chain of the hashes, which detects a modified entry.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::Entry;

/// The predecessor of the first entry.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Returns the hash of a text: SHA-256 in hexadecimal digits.
pub(crate) fn hash(body: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let (high, low) = digest.split_at(16);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    format!("{:032x}{:032x}", number(high), number(low))
}

/// A message of the stream, and its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The entry follows the one before it.
    Entry(Entry),
    /// Another console appended an entry simultaneously, and the other entry counts.
    Superseded(Entry),
    /// The message has been modified, or the one before it was modified or removed.
    Broken(String),
}

impl Link {
    /// Returns the entry if it counts.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Superseded(_) | Self::Broken(_) => None,
        }
    }
}

/// The messages of the stream, in their order.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    last: Option<String>,
    /// The hash of each entry, and whether it counts.
    hashes: HashMap<String, bool>,
}

impl Chain {
    /// Adds a message with its text and the hash in its header.
    pub(super) fn push(&mut self, body: &[u8], stated: Option<&str>) {
        let actual = hash(body);
        let link = self.link(body, &actual, stated);
        if !matches!(link, Link::Superseded(_)) {
            // After a modified entry, the chain goes on with the hash that the next entry knows.
            let known = stated.filter(|_| matches!(link, Link::Broken(_))).unwrap_or(&actual);
            self.last = Some(known.to_owned());
        }
        self.hashes.insert(actual, matches!(link, Link::Entry(_)));
        self.links.push(link);
    }

    fn link(&self, body: &[u8], actual: &str, stated: Option<&str>) -> Link {
        if stated != Some(actual) {
            return Link::Broken(format!("the text has the hash {actual}, and its header another one"));
        }
        let entry: Entry = match serde_json::from_slice(body) {
            Ok(entry) => entry,
            Err(error) => return Link::Broken(format!("the text is no entry: {error}")),
        };
        if entry.previous == self.last_hash() {
            Link::Entry(entry)
        } else if entry.previous == FIRST || self.hashes.contains_key(&entry.previous) {
            Link::Superseded(entry)
        } else {
            Link::Broken(format!("the entry before it, {}, is missing or was modified", entry.previous))
        }
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn last_hash(&self) -> &str {
        self.last.as_deref().unwrap_or(FIRST)
    }

    /// Returns whether the chain has a message with this hash.
    pub(super) fn contains(&self, hash: &str) -> bool {
        self.hashes.contains_key(hash)
    }

    /// Returns whether the entry with this hash counts.
    pub(super) fn counts(&self, hash: &str) -> bool {
        self.hashes.get(hash) == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use uuid::Uuid;

    use super::{Chain, Link, hash};
    use crate::journal::{Entry, Event};

    fn entry(previous: &str, operator: &str) -> Vec<u8> {
        let entry = Entry {
            previous: previous.to_owned(),
            at: Utc::now(),
            operator: operator.to_owned(),
            operation: Uuid::nil(),
            event: Event::Resumed,
        };
        serde_json::to_vec(&entry).unwrap()
    }

    /// Returns the texts of a chain of `length` entries.
    fn bodies(length: usize) -> Vec<Vec<u8>> {
        let mut chain = Chain::default();
        for n in 0..length {
            let body = entry(chain.last_hash(), &format!("operator {n}"));
            chain.push(&body, Some(&hash(&body)));
        }
        let entries = chain.links().iter().map(|link| serde_json::to_vec(link.entry().unwrap()).unwrap());
        entries.collect()
    }

    fn chain_of(bodies: &[Vec<u8>], hashes: &[String]) -> Vec<bool> {
        let mut chain = Chain::default();
        for (body, hash) in bodies.iter().zip(hashes) {
            chain.push(body, Some(hash));
        }
        chain.links().iter().map(|link| matches!(link, Link::Broken(_))).collect()
    }

    #[test]
    fn modified_entry_breaks_chain_at_one_place() {
        let original = bodies(4);
        let hashes: Vec<_> = original.iter().map(|body| hash(body)).collect();
        assert_eq!(chain_of(&original, &hashes), [false; 4]);
        let mut modified = original.clone();
        modified[1] = entry(&hashes[0], "another operator");
        assert_eq!(chain_of(&modified, &hashes), [false, true, false, false], "the old hash in the header");
        let mut fitting = hashes.clone();
        fitting[1] = hash(&modified[1]);
        assert_eq!(
            chain_of(&modified, &fitting),
            [false, false, true, false],
            "a fitting hash in the header"
        );
        let removed: Vec<_> = [0, 2, 3].map(|n| original[n].clone()).into();
        let rest: Vec<_> = [0, 2, 3].map(|n| hashes[n].clone()).into();
        assert_eq!(chain_of(&removed, &rest), [false, true, false], "a removed entry");
    }

    #[test]
    fn only_first_of_two_simultaneous_entries_counts() {
        let mut chain = Chain::default();
        let first = entry(chain.last_hash(), "a");
        chain.push(&first, Some(&hash(&first)));
        let (second, late) = (entry(chain.last_hash(), "b"), entry(chain.last_hash(), "c"));
        chain.push(&second, Some(&hash(&second)));
        chain.push(&late, Some(&hash(&late)));
        assert!(chain.counts(&hash(&second)));
        assert!(chain.contains(&hash(&late)) && !chain.counts(&hash(&late)));
        assert_eq!(chain.last_hash(), hash(&second));
        assert!(matches!(chain.links()[2], Link::Superseded(_)));
    }
}
