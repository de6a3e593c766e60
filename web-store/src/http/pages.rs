//! The pages. Every value reaches HTML through the templates, which escape it.

use std::borrow::Cow;

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use service_kit::Stylesheet;

use super::submission::{Invalid, Submission};

pub(crate) const STYLE: Stylesheet = Stylesheet::new(include_str!("../../assets/style.css"));

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
#[template(path = "details.html")]
struct Details<'a> {
    /// To this very page.
    link: &'a str,
    typed: &'a Submission,
    occasion: Occasion<'a>,
}

impl Details<'_> {
    /// What is wrong with each field.
    fn invalid(&self) -> Invalid {
        match self.occasion {
            Occasion::Mistake(invalid) => invalid.clone(),
            _ => Invalid::default(),
        }
    }
}

/// Why a customer's details are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Occasion<'a> {
    /// They have just been registered, or nothing has changed since.
    Registered,
    /// They come back.
    Return,
    /// What they typed is saved.
    Saved,
    /// What they typed needs another look.
    Mistake(&'a Invalid),
    /// A title and what to do, where it could not be saved.
    Failure(&'a str, &'a str),
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'a> {
    title: &'a str,
    detail: &'a str,
}

/// The form as yet holds nothing of anybody, so it may be kept for the back button, whose form then has the
/// same key and registers nobody twice.
pub(super) async fn empty_form() -> Response {
    let mut response = form(StatusCode::OK, &Submission::empty(), &Invalid::default(), None);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

pub(super) fn form(
    status: StatusCode,
    typed: &Submission,
    invalid: &Invalid,
    failure: Option<(&str, &str)>,
) -> Response {
    // What was sent without a key gets one now.
    let typed = match typed.idempotency_key.as_str() {
        "" => Cow::Owned(typed.clone().with_new_key()),
        _ => Cow::Borrowed(typed),
    };
    page(status, &Form { typed: &typed, invalid, failure })
}

pub(super) fn confirmation() -> Response {
    page(StatusCode::OK, &Confirmation)
}

pub(super) fn details(status: StatusCode, link: &str, typed: &Submission, occasion: Occasion) -> Response {
    page(status, &Details { link, typed, occasion })
}

pub(super) fn failure(status: StatusCode, title: &str, detail: &str) -> Response {
    page(status, &Failure { title, detail })
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!("cannot render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
