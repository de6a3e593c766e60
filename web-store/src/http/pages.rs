//! The pages. Every value reaches HTML through the templates, which escape it.

use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::submission::{Invalid, Submission};

#[derive(Template)]
#[template(path = "form.html")]
struct Form<'a> {
    typed: &'a Submission,
    invalid: &'a Invalid,
    /// A title and what to do, where the whole registration failed.
    failure: Option<(&'a str, &'a str)>,
}

#[derive(Template)]
#[template(path = "confirmation.html")]
struct Confirmation;

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'a> {
    title: &'a str,
    detail: &'a str,
}

pub(super) async fn empty_form() -> Response {
    form(StatusCode::OK, &Submission::default(), &Invalid::default(), None)
}

pub(super) fn form(
    status: StatusCode,
    typed: &Submission,
    invalid: &Invalid,
    failure: Option<(&str, &str)>,
) -> Response {
    page(status, &Form { typed, invalid, failure })
}

pub(super) fn confirmation() -> Response {
    page(StatusCode::OK, &Confirmation)
}

pub(super) fn failure(status: StatusCode, title: &str, detail: &str) -> Response {
    page(status, &Failure { title, detail })
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../assets/style.css"))
}

/// Pages can hold what somebody typed, so nobody may keep a copy.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, [(header::CACHE_CONTROL, "no-store")], Html(html)).into_response(),
        Err(error) => {
            tracing::error!("cannot render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
