//! The key to a customer's details: whoever has it may change them.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// 122 random bits, made with the registration. It stays out of logs: shown by no `Debug`, and by `Display`
/// only where a link is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EditKey(Uuid);

impl EditKey {
    /// One that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// One from the database.
    pub(crate) fn stored(key: Uuid) -> Self {
        Self(key)
    }

    /// For the database.
    pub(crate) fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for EditKey {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for EditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for EditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EditKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::EditKey;

    #[test]
    fn a_key_is_in_its_link_but_not_in_a_log() {
        let key = EditKey::random();
        assert_eq!(key.to_string().parse::<EditKey>().unwrap(), key);
        assert!(!format!("{key:?}").contains(&key.to_string()[..4]));
        assert_ne!(key, EditKey::random());
    }
}
