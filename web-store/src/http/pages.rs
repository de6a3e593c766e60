//! The pages. All values reach HTML through the templates, which escape them.

use std::borrow::Cow;

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use service_kit::Stylesheet;

use super::{field_errors::FieldErrors, form::RegistrationForm, problem::Problem};

pub(crate) const STYLE: Stylesheet = Stylesheet::new(&[include_str!("../../assets/style.css")]);

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage<'a> {
    form: &'a RegistrationForm,
    errors: &'a FieldErrors,
    /// The problem of the registration as a whole.
    problem: Option<&'a Problem>,
}

#[derive(Template)]
#[template(path = "confirmation.html")]
struct ConfirmationPage;

#[derive(Template)]
#[template(path = "details.html")]
struct DetailsPage<'a> {
    /// The link to this page.
    link: &'a str,
    form: &'a RegistrationForm,
    errors: &'a FieldErrors,
    notice: DetailsNotice<'a>,
}

/// The heading and the message above a customer's details.
#[derive(Debug, Clone, Copy)]
pub(super) enum DetailsNotice<'a> {
    /// The customer is registered, and nothing has changed since.
    Registered,
    /// The customer has come back to the page.
    Returned,
    Saved,
    InvalidFields,
    Problem(&'a Problem),
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
}

/// The empty form holds no personal data, so a browser may keep it for the back button. The form then has the
/// same idempotency key and registers one customer only.
pub(super) async fn empty_form() -> Response {
    let mut response = form(StatusCode::OK, &RegistrationForm::empty(), &FieldErrors::default(), None);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// Renders the form with its fields. A form without an idempotency key gets one.
pub(super) fn form(
    status: StatusCode,
    form: &RegistrationForm,
    errors: &FieldErrors,
    problem: Option<&Problem>,
) -> Response {
    let form = match form.idempotency_key.as_str() {
        "" => Cow::Owned(form.clone().with_new_key()),
        _ => Cow::Borrowed(form),
    };
    page(status, &FormPage { form: &form, errors, problem })
}

pub(super) fn confirmation() -> Response {
    page(StatusCode::OK, &ConfirmationPage)
}

pub(super) fn details(
    status: StatusCode,
    link: &str,
    form: &RegistrationForm,
    errors: &FieldErrors,
    notice: DetailsNotice,
) -> Response {
    page(status, &DetailsPage { link, form, errors, notice })
}

pub(super) fn problem(problem: &Problem) -> Response {
    page(problem.status(), &ProblemPage { problem })
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
