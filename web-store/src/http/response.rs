//! The format of a response: a page for a browser, JSON for a program.

use axum::{
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::Response,
};
use serde_json::json;

use super::{
    field_errors::FieldErrors,
    pages,
    problem::{Problem, problem_json},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Page,
    Json,
}

impl Format {
    /// Returns the format of the request's body, or else the one that the client accepts.
    pub(super) fn negotiate(headers: &HeaderMap) -> Self {
        let content_type = header_text(headers, header::CONTENT_TYPE);
        if content_type.starts_with("application/json") {
            Self::Json
        } else if content_type.starts_with("application/x-www-form-urlencoded") {
            Self::Page
        } else {
            Self::from_accept(headers)
        }
    }

    /// Returns [`Format::Page`] if the client accepts HTML, as browsers do.
    pub(super) fn from_accept(headers: &HeaderMap) -> Self {
        if header_text(headers, header::ACCEPT).contains("text/html") { Self::Page } else { Self::Json }
    }

    /// Renders a problem without the client's input.
    pub(super) fn problem(self, problem: &Problem) -> Response {
        match self {
            Self::Page => problem.with_retry_after(pages::problem(problem)),
            Self::Json => problem.json(),
        }
    }
}

/// Returns the problem details for invalid fields, with one error for each.
pub(super) fn invalid_fields_json(status: StatusCode, errors: &FieldErrors) -> Response {
    let errors: Vec<_> =
        errors.fields().map(|(field, detail)| json!({"field": field, "detail": detail})).collect();
    problem_json(status, "Some fields need another look", json!({"errors": errors}))
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}
