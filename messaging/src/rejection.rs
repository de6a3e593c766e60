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
        let text = error.to_string();
        if error.is_data() { Self::WrongShape(without_value(&text)) } else { Self::NotJson(text) }
    }
}

/// Removes the value that an error of serde quotes: it may be personal data, and of any length.
///
/// Such an error reads `invalid type: string "Ann", expected a boolean at line 1 column 9`.
fn without_value(error: &str) -> String {
    let quoted = error.strip_prefix("invalid ").and_then(|rest| {
        let (subject, rest) = rest.split_once(": ")?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
        Some(format!("invalid {subject}: {kind}, expected {expected}"))
    });
    quoted.unwrap_or_else(|| error.to_owned())
}

#[cfg(test)]
mod tests {
    use contracts::CreateCustomer;

    use super::Rejection;

    #[test]
    fn reason_does_not_quote_value() {
        let value = "Ann, expected \"x\" `y` ".repeat(1000);
        for (field, value, kind) in [
            ("email_opt_in", serde_json::json!(value), "string, expected a boolean"),
            ("full_name", serde_json::json!(4711), "integer, expected a string"),
            ("customer_id", serde_json::json!([4711]), "sequence, expected"),
        ] {
            let sample = include_str!("../../contracts/samples/marketing.create-customer.v1.json");
            let mut body: serde_json::Value = serde_json::from_str(sample).unwrap();
            body[field] = value;
            let error = serde_json::from_str::<CreateCustomer>(&body.to_string()).unwrap_err();
            let reason = Rejection::from(error).to_string();
            assert!(reason.contains(kind) && reason.len() < 200, "{reason}");
            assert!(!reason.contains("Ann") && !reason.contains("4711"), "{reason}");
        }
    }
}
