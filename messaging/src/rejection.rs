//! Why a message can never succeed.

/// The reason for which a message goes to the dead letters.
///
/// The texts may quote the message, so they belong in its dead letter and not in a log; a log gets
/// [`Rejection::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A property of the envelope is missing or malformed.
    #[error("bad envelope: {0}")]
    BadEnvelope(String),
    /// The `type` is none that this consumer handles.
    #[error("unknown message type `{0}`")]
    UnknownType(String),
    /// A message that this consumer handles, but of another major version.
    #[error("unknown version: of this message `{known}` is read, not `{found}`")]
    UnknownVersion {
        /// The `type` that it has.
        found: String,
        /// The `type` that it should have.
        known: &'static str,
    },
    /// The body is not JSON in UTF-8.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not what the contract says.
    #[error("not of the contract's shape: {0}")]
    WrongShape(String),
    /// The message has its contract's shape, but breaks a rule of the domain or of its database.
    #[error("breaks a rule: {0}")]
    RuleBroken(String),
}

impl Rejection {
    /// The kind of reason, for logs and programs.
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
