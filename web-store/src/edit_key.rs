//! The key that allows its holder to see and change a customer's details.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A secret of 122 random bits, created with the registration. `Debug` hides it, so it stays out of logs.
/// `Display` shows it and is only for building links.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EditKey(Uuid);

impl EditKey {
    /// Returns a new random key.
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Wraps a key from the database.
    pub(crate) fn from_stored(key: Uuid) -> Self {
        Self(key)
    }

    /// Returns the key as the database stores it.
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
    fn key_is_shown_in_links_and_hidden_in_logs() {
        let key = EditKey::random();
        assert_eq!(key.to_string().parse::<EditKey>().unwrap(), key);
        assert!(!format!("{key:?}").contains(&key.to_string()[..4]));
        assert_ne!(key, EditKey::random());
    }
}
