//! Problems of a whole request: status, text, and the response for programs (RFC 9457).

use std::time::Duration;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::form::FormError;
use crate::idempotency::InvalidIdempotencyKey;

/// When to try again while the database is unavailable, in seconds.
const RETRY_AFTER: u64 = 5;

/// The reason why a request failed, if it is not the value of a single field.
#[derive(Debug)]
pub(super) enum Problem {
    /// The details of a customer may not be saved.
    DetailsNotSaved,
    IdempotencyKeyReused,
    /// With the reason, for the client.
    Malformed(String),
    MethodNotAllowed,
    NotFound,
    TooLarge,
    /// With the time to wait.
    TooManyChanges(Duration),
    /// With the time to wait.
    TooManyRegistrations(Duration),
    Unavailable,
    UnsupportedMediaType,
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyChanges(_) | Self::TooManyRegistrations(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::DetailsNotSaved | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// Returns the name for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::IdempotencyKeyReused => "key-reused",
            Self::Malformed(_) | Self::UnsupportedMediaType => "unreadable",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotFound => "not-found",
            Self::TooLarge => "too-large",
            Self::TooManyChanges(_) | Self::TooManyRegistrations(_) => "too-many",
            Self::DetailsNotSaved | Self::Unavailable => "unavailable",
        }
    }

    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::IdempotencyKeyReused => "You are registered already",
            Self::Malformed(_) | Self::UnsupportedMediaType => "We could not read that",
            Self::MethodNotAllowed => "That cannot be done here",
            Self::NotFound => "There is nothing here",
            Self::TooLarge => "That is too much",
            Self::TooManyChanges(_) => "Too many changes",
            Self::TooManyRegistrations(_) => "Too many registrations",
            Self::DetailsNotSaved | Self::Unavailable => "We cannot do that right now",
        }
    }

    /// Returns what a visitor can do about it.
    pub(super) fn detail(&self) -> &str {
        match self {
            Self::DetailsNotSaved => {
                "Your details may not be saved yet. Send them again in a few seconds; it does no harm."
            }
            Self::IdempotencyKeyReused => {
                "This form was sent before with other details, and those are saved. \
                 To register another customer, send it once more."
            }
            Self::Malformed(detail) => detail,
            Self::MethodNotAllowed => "Customers are registered with the form, or by POST to /customers.",
            Self::NotFound => "Check the address.",
            Self::TooLarge => "Send at most 16 KiB.",
            Self::TooManyChanges(_) => {
                "Details were changed many times from your network in the last minute. Nothing is saved yet. \
                 Try again in a minute."
            }
            Self::TooManyRegistrations(_) => {
                "Many customers were registered from your network in the last minute. \
                 Try again in a minute."
            }
            Self::Unavailable => {
                "You lose nothing by trying again in a few seconds: you will not be registered twice."
            }
            Self::UnsupportedMediaType => {
                "Send a form (application/x-www-form-urlencoded) or JSON (application/json)."
            }
        }
    }

    /// Returns what a program can do about it.
    fn detail_for_programs(&self) -> &str {
        match self {
            Self::IdempotencyKeyReused => {
                "The Idempotency-Key was used before with other details, and those are saved. \
                 Use a new key for every new registration."
            }
            _ => self.detail(),
        }
    }

    /// Returns the problem as `application/problem+json`.
    pub(super) fn json(&self) -> Response {
        let json = problem_json(self.status(), self.title(), json!({"detail": self.detail_for_programs()}));
        self.with_retry_after(json)
    }

    /// Adds the header `Retry-After` if the request can succeed later.
    pub(super) fn with_retry_after(&self, mut response: Response) -> Response {
        let seconds = match self {
            Self::TooManyChanges(wait) | Self::TooManyRegistrations(wait) => wait.as_secs() + 1,
            Self::DetailsNotSaved | Self::Unavailable => RETRY_AFTER,
            _ => return response,
        };
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response
    }
}

impl From<FormError> for Problem {
    fn from(error: FormError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<InvalidIdempotencyKey> for Problem {
    fn from(error: InvalidIdempotencyKey) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Returns problem details with a status, a title, and `extra` members.
pub(super) fn problem_json(status: StatusCode, title: &str, extra: Value) -> Response {
    let mut body = json!({"title": title, "status": status.as_u16()});
    if let (Value::Object(body), Value::Object(extra)) = (&mut body, extra) {
        body.extend(extra);
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
