//! `POST /customers`: registers a customer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;
use service_kit::{FailureLog, RequestTrace};
use telemetry::trace_id;

use super::{
    App,
    edit_link::edit_link,
    field_errors::FieldErrors,
    form::RegistrationForm,
    pages,
    problem::Problem,
    read_form,
    response::{Format, invalid_fields_json},
};
use crate::{
    edit_key::EditKey,
    idempotency::{IdempotencyRecord, idempotency_key},
    store::{RegisterError, Registered, RegisteredCustomer, Registration},
};

static REGISTRATIONS: FailureLog = FailureLog::new("registration");

/// The reason why a request registers no customer.
#[derive(Debug)]
enum RegisterFailure {
    Problem(Problem),
    InvalidFields(FieldErrors),
    Store(RegisterError),
}

pub(super) async fn register(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    trace: RequestTrace,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let mut form = None;
    let outcome = try_register(&app, peer, trace, &headers, body, &mut form).await;
    if let Err(failure) = &outcome {
        app.metrics.registrations.ended(failure.name());
    }
    render(Format::negotiate(&headers), outcome, form)
}

/// Registers the customer and leaves the fields in `form`, so that a page can show them again.
async fn try_register(
    app: &App,
    peer: SocketAddr,
    trace: RequestTrace,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    form: &mut Option<RegistrationForm>,
) -> Result<RegisteredCustomer, RegisterFailure> {
    let form = form.insert(read_form(headers, body)?);
    let customer = form.parse_customer()?;
    let key = idempotency_key(headers, &form.idempotency_key).map_err(Problem::from)?;
    let idempotency = key.map(|key| IdempotencyRecord::new(key, &customer));
    let client = app.client(peer, headers);
    app.registration_limit.try_acquire(client).map_err(Problem::TooManyRegistrations)?;
    let trace_id = trace.traceparent().and_then(trace_id).map(str::to_owned);
    let registration = Registration { customer, edit_key: EditKey::random(), idempotency, trace };
    let outcome = app.store.register(registration).await;
    match &outcome {
        Err(RegisterError::Unavailable(error)) => REGISTRATIONS.failed(error),
        _ => REGISTRATIONS.succeeded(),
    }
    let registered = match outcome? {
        // Counted at the commit, also for a visitor who did not wait.
        Registered::Now(customer) => customer,
        Registered::Before(customer) => {
            app.metrics.registrations.ended("repeated");
            customer
        }
    };
    app.relay.wake.notify_one();
    tracing::debug!(customer_id = %registered.customer_id, trace_id, "registered");
    Ok(registered)
}

impl RegisterFailure {
    /// Returns the name for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.name(),
            Self::InvalidFields(_) => "invalid-fields",
            Self::Store(RegisterError::EmailTaken) => "email-taken",
            Self::Store(RegisterError::IdempotencyKeyReused) => "key-reused",
            Self::Store(RegisterError::Unavailable(_)) => "unavailable",
        }
    }
}

fn render(
    format: Format,
    outcome: Result<RegisteredCustomer, RegisterFailure>,
    form: Option<RegistrationForm>,
) -> Response {
    let failure = match outcome {
        Ok(customer) => return render_registered(format, &customer),
        Err(failure) => failure,
    };
    match failure {
        RegisterFailure::InvalidFields(errors) => {
            render_invalid_fields(format, StatusCode::UNPROCESSABLE_ENTITY, &errors, form)
        }
        RegisterFailure::Store(RegisterError::EmailTaken) => {
            render_invalid_fields(format, StatusCode::CONFLICT, &FieldErrors::email_taken(), form)
        }
        RegisterFailure::Store(RegisterError::IdempotencyKeyReused) => {
            render_problem(format, &Problem::IdempotencyKeyReused, form.map(RegistrationForm::with_new_key))
        }
        RegisterFailure::Store(RegisterError::Unavailable(_)) => {
            render_problem(format, &Problem::Unavailable, form)
        }
        RegisterFailure::Problem(problem) => render_problem(format, &problem, form),
    }
}

/// Redirects a browser to the customer's details. A program gets 201 with the id and the link to the details.
fn render_registered(format: Format, customer: &RegisteredCustomer) -> Response {
    let (customer_id, link) = (customer.customer_id, edit_link(customer));
    match format {
        Format::Page => Redirect::to(&link).into_response(),
        Format::Json => {
            let location = format!("/customers/{customer_id}");
            let body = Json(json!({"customer_id": customer_id, "details": link}));
            (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
        }
    }
}

fn render_invalid_fields(
    format: Format,
    status: StatusCode,
    errors: &FieldErrors,
    form: Option<RegistrationForm>,
) -> Response {
    match format {
        Format::Page => pages::form(status, &form.unwrap_or_default(), errors, None),
        Format::Json => invalid_fields_json(status, errors),
    }
}

/// Renders a problem above the form, if the form could be read.
fn render_problem(format: Format, problem: &Problem, form: Option<RegistrationForm>) -> Response {
    match (format, form) {
        (Format::Page, Some(form)) => {
            let page = pages::form(problem.status(), &form, &FieldErrors::default(), Some(problem));
            problem.with_retry_after(page)
        }
        _ => format.problem(problem),
    }
}

impl From<Problem> for RegisterFailure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<FieldErrors> for RegisterFailure {
    fn from(errors: FieldErrors) -> Self {
        Self::InvalidFields(errors)
    }
}

impl From<RegisterError> for RegisterFailure {
    fn from(error: RegisterError) -> Self {
        Self::Store(error)
    }
}
