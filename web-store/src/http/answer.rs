//! Answers: pages for people, JSON and problem details (RFC 9457) for programs.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    link::link,
    pages,
    pages::Occasion,
    submission::{Invalid, Submission},
};
use crate::{store::Registered, version::Version};

/// When to try again while the database is away, in seconds.
const RETRY_AFTER: u64 = 5;

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Page,
    Json,
}

/// Why a request failed, apart from what is wrong with single fields.
#[derive(Debug)]
pub(super) enum Failure {
    KeyUsed,
    Malformed(String),
    MethodNotAllowed,
    NotFound,
    NotSaved,
    TooLarge,
    /// How long to wait.
    TooMany(Duration),
    UnsupportedMediaType,
    Unavailable,
}

impl Failure {
    /// The status, a title, and what to do.
    pub(super) fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::KeyUsed => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "You are registered already",
                "This was sent before with other details, and those stand. \
                 To register somebody else as well, send it once more.",
            ),
            Self::Malformed(detail) => (StatusCode::BAD_REQUEST, "We could not read that", detail),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "That cannot be done here",
                "Customers are registered with the form, or by POST to /customers.",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "There is nothing here", "Check the address."),
            Self::NotSaved => (
                StatusCode::SERVICE_UNAVAILABLE,
                "We cannot do that right now",
                "Your details may not be saved yet. Send them again in a few seconds; it does no harm.",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "That is too much", "Send at most 16 KiB."),
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "That was a lot at once",
                "Many people were registered from your network just now. Try again in a minute.",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "We could not read that",
                "Send a form (application/x-www-form-urlencoded) or JSON (application/json).",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "We cannot do that right now",
                "You lose nothing by trying again in a few seconds: nobody is registered twice.",
            ),
        }
    }

    /// What a program has to do, where that is something else.
    fn detail_for_programs(&self) -> Option<&'static str> {
        matches!(self, Self::KeyUsed).then_some(
            "The Idempotency-Key was used before, with other details, and those stand. \
             Use a new key for every new registration.",
        )
    }

    /// In how many seconds it may go well.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany(wait) => Some(wait.as_secs() + 1),
            Self::NotSaved | Self::Unavailable => Some(RETRY_AFTER),
            _ => None,
        }
    }
}

impl Format {
    /// A program that sends JSON gets JSON; anyone else is asked what they accept.
    pub(super) fn of_answer(headers: &HeaderMap) -> Self {
        let content_type = header_text(headers, header::CONTENT_TYPE);
        if content_type.starts_with("application/json") {
            Self::Json
        } else if content_type.starts_with("application/x-www-form-urlencoded") {
            Self::Page
        } else {
            Self::of_accept(headers)
        }
    }

    /// Browsers name HTML among what they accept.
    pub(super) fn of_accept(headers: &HeaderMap) -> Self {
        if header_text(headers, header::ACCEPT).contains("text/html") { Self::Page } else { Self::Json }
    }

    pub(super) fn registered(self, registered: &Registered) -> Response {
        let (customer_id, link) = (registered.customer_id, link(registered));
        match self {
            Self::Page => Redirect::to(&link).into_response(),
            Self::Json => {
                let location = format!("/customers/{customer_id}");
                let body = Json(json!({"customer_id": customer_id, "details": link}));
                (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
            }
        }
    }

    pub(super) fn confirmation(self, customer_id: Uuid, registered_at: DateTime<Utc>) -> Response {
        match self {
            Self::Page => pages::confirmation(),
            Self::Json => {
                let registered_at = registered_at.to_rfc3339_opts(SecondsFormat::Micros, true);
                Json(json!({"customer_id": customer_id, "registered_at": registered_at})).into_response()
            }
        }
    }

    pub(super) fn invalid(self, status: StatusCode, typed: &Submission, invalid: &Invalid) -> Response {
        match self {
            Self::Page => pages::form(status, typed, invalid, None),
            Self::Json => {
                let errors: Vec<_> = invalid
                    .fields()
                    .map(|(field, detail)| json!({"field": field, "detail": detail}))
                    .collect();
                problem(status, "Some fields need another look", json!({"errors": errors}))
            }
        }
    }

    pub(super) fn details(self, link: &str, version: &Version, occasion: Occasion) -> Response {
        match self {
            Self::Page => pages::details(StatusCode::OK, link, &Submission::of(version), occasion),
            Self::Json => {
                let customer = &version.customer;
                Json(json!({
                    "customer_id": customer.id,
                    "version": version.number,
                    "name": customer.name.as_str(),
                    "marketing_consent": customer.marketing_consent,
                }))
                .into_response()
            }
        }
    }

    pub(super) fn saved(self, link: &str, version: &Version) -> Response {
        match self {
            Self::Page => Redirect::to(&format!("{link}&saved")).into_response(),
            Self::Json => self.details(link, version, Occasion::Saved),
        }
    }

    pub(super) fn invalid_details(self, link: &str, typed: &Submission, invalid: &Invalid) -> Response {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        match self {
            Self::Page => pages::details(status, link, typed, Occasion::Mistake(invalid)),
            Self::Json => self.invalid(status, typed, invalid),
        }
    }

    pub(super) fn unsaved_details(self, link: &str, typed: &Submission) -> Response {
        let (status, title, detail) = Failure::NotSaved.parts();
        match self {
            Self::Page => {
                let page = pages::details(status, link, typed, Occasion::Failure(title, detail));
                with_retry_after(page, &Failure::NotSaved)
            }
            Self::Json => self.failure(&Failure::NotSaved, None),
        }
    }

    /// With what was typed, where it is known, so that nobody has to type it again.
    pub(super) fn failure(self, failure: &Failure, typed: Option<Submission>) -> Response {
        let (status, title, detail) = failure.parts();
        let response = match (self, typed) {
            (Self::Json, _) => {
                let detail = failure.detail_for_programs().unwrap_or(detail);
                problem(status, title, json!({"detail": detail}))
            }
            (Self::Page, Some(typed)) => {
                pages::form(status, &typed, &Invalid::default(), Some((title, detail)))
            }
            (Self::Page, None) => pages::failure(status, title, detail),
        };
        with_retry_after(response, failure)
    }
}

fn with_retry_after(mut response: Response, failure: &Failure) -> Response {
    if let Some(seconds) = failure.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn problem(status: StatusCode, title: &str, more: Value) -> Response {
    let mut body = json!({"title": title, "status": status.as_u16()});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}
