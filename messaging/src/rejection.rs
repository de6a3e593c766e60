//! The reasons for which a message can never succeed.

/// The reason for which a message goes to the dead letters.
///
/// The texts may quote the message, so they belong in the dead letter and not in a log. Log
/// [`Rejection::code`] instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A property of the envelope is missing or malformed.
    #[error("bad envelope: {0}")]
    BadEnvelope(String),
    /// This consumer does not handle messages of this `type`.
    #[error("unknown message type `{0}`")]
    UnknownType(String),
    /// This consumer handles the message, but another major version of it.
    #[error("unknown version `{found}`: this consumer reads `{known}`")]
    UnknownVersion {
        /// The `type` of the message.
        found: String,
        /// The `type` that this consumer reads.
        known: &'static str,
    },
    /// The body is not JSON in UTF-8.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but does not match the contract.
    #[error("the body does not match the contract: {0}")]
    WrongShape(String),
    /// The body matches the contract, but breaks a rule of the domain or of the database.
    #[error("breaks a rule: {0}")]
    RuleBroken(String),
}

impl Rejection {
    /// Returns the code of the reason, for logs and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadEnvelope(_) => "bad-envelope",
            Self::UnknownType(_) => "unknown-type",
            Self::UnknownVersion { .. } => "unknown-version",
            Self::NotJson(_) => "not-json",
            Self::WrongShape(_) => "wrong-shape",
            Self::RuleBroken(_) => "rule-broken",
        }
    }
}

impl From<serde_json::Error> for Rejection {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() { Self::WrongShape(error.to_string()) } else { Self::NotJson(error.to_string()) }
    }
}
