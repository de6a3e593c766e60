//! What makes one registration of a request that is sent twice.

use uuid::Uuid;

use crate::customer::Customer;

/// A key that the client made for its request, and what it asks for with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Stands for the key, of whatever shape it is: its UUID v5.
    pub key: Uuid,
    /// Stands for what is asked for: the UUID v5 of the fields, as they were parsed.
    pub request: Uuid,
}

impl Attempt {
    /// The attempt to register this customer under that key.
    #[must_use]
    pub fn new(key: &str, customer: &Customer) -> Self {
        let Customer { name, email, marketing_consent, .. } = customer;
        // No field can hold the separator, a control character.
        let request = format!("{}\n{}\n{marketing_consent}", name.as_str(), email.as_str());
        let digest = |text: &str| Uuid::new_v5(&Uuid::nil(), text.as_bytes());
        Self { key: digest(key), request: digest(&request) }
    }
}
