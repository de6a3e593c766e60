//! The reasons for the end of a session.

use access::{SecretError, TlsFailure, tls_failure};
use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
};

use crate::broker_address::BrokerAddress;

/// The reason for the end of a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection could not be opened.
    #[error("the broker at {broker} cannot be reached: {reason}")]
    Unreachable {
        /// The broker's address, without credentials.
        broker: String,
        /// The client's error. It is not a source, because its text already contains its own sources.
        reason: lapin::Error,
    },
    /// TLS with the broker failed.
    #[error("the broker at {broker} cannot be reached: {failure}")]
    Tls {
        /// The broker's address, without credentials.
        broker: String,
        /// The cause. It is not a source, because the text contains it.
        failure: TlsFailure,
    },
    /// The broker accepted the connection, and did not reply in time.
    #[error("the broker at {broker} did not reply in time")]
    Silent {
        /// The broker's address, without credentials.
        broker: String,
    },
    /// No address of the broker could be used, with the error of each in the order of their texts.
    #[error("no address of the broker works: {}", list(.0))]
    NoAddress(Vec<Self>),
    /// The file with the URL cannot be used.
    #[error("the URL of the broker is unknown: {0}")]
    UnknownUrl(SecretError),
    /// The broker or the network broke an open session.
    #[error("the session with the broker broke: {0}")]
    Broken(lapin::Error),
    /// The user lacks a permission. The broker's text names the permission and the object.
    #[error("the broker denies a permission; grant it to this user: {0}")]
    Forbidden(lapin::Error),
    /// The broker did not reply to an operation in time.
    #[error("the broker did not reply in time: {0}")]
    ReplyTimeout(&'static str),
    /// The connection or the channel closed.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The broker cancelled the consumer because its queue was deleted or it held a message for too long.
    #[error("the broker cancelled the consumer of {0}")]
    Cancelled(&'static str),
    /// The broker did not confirm a dead letter, so its original must not be acked.
    #[error("the broker did not confirm the dead letters of {0}")]
    DeadLettersRefused(&'static str),
    /// The broker closed the channel of the status reports.
    #[error(
        "the broker refuses status reports; this user needs the permission to write to `operations.status`"
    )]
    ReportsRefused,
    /// The last message of a stream cannot be parsed.
    #[error("the last message of {0} cannot be parsed; use the release of the console that wrote it")]
    Malformed(&'static str),
}

impl SessionError {
    /// Returns the name of the error for spans.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::NoAddress(_) => "unreachable",
            Self::Tls { .. } => "tls",
            Self::UnknownUrl(_) => "unknown-url",
            Self::Broken(_) => "broken",
            Self::Forbidden(_) => "forbidden",
            Self::ReplyTimeout(_) | Self::Silent { .. } => "timeout",
            Self::Lost => "lost",
            Self::Cancelled(_) => "cancelled",
            Self::DeadLettersRefused(_) | Self::ReportsRefused => "refused",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Returns whether the broker has reported that an object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Broken(error) if has_code(error, AMQPSoftError::NOTFOUND))
    }

    /// Returns whether another session has the exclusive use of an object.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Broken(error) if has_code(error, AMQPSoftError::RESOURCELOCKED))
    }

    /// Returns whether the broker is reachable, but refuses the operation.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::DeadLettersRefused(_) | Self::ReportsRefused | Self::Forbidden(_) => true,
            Self::Broken(error) => matches!(error.kind(), ErrorKind::ProtocolError(_)),
            _ => false,
        }
    }

    /// Returns the error of an attempt to connect to an address.
    pub(crate) fn of_address(address: &BrokerAddress, error: Self) -> Self {
        let broker = address.to_string();
        match error {
            Self::Broken(reason) | Self::Forbidden(reason) => match tls_failure(&reason) {
                Some(failure) => Self::Tls { broker, failure },
                None => Self::Unreachable { broker, reason },
            },
            Self::ReplyTimeout(_) => Self::Silent { broker },
            other => other,
        }
    }

    /// Returns the error of a connection whose attempts have all failed. Their order has no effect on it, so that the
    /// log of an outage does not repeat it.
    pub(crate) fn of_addresses(mut failures: Vec<Self>) -> Self {
        failures.sort_by_key(ToString::to_string);
        match failures.len() {
            1 => failures.remove(0),
            _ => Self::NoAddress(failures),
        }
    }
}

impl From<lapin::Error> for SessionError {
    fn from(error: lapin::Error) -> Self {
        if has_code(&error, AMQPSoftError::ACCESSREFUSED) {
            Self::Forbidden(error)
        } else {
            Self::Broken(error)
        }
    }
}

fn has_code(error: &lapin::Error, code: AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(code))
}

/// Returns the texts of errors in one line.
fn list(errors: &[SessionError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
