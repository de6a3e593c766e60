//! `/customers/{customer_id}`: shows a customer's details and updates them, for holders of the edit link.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{
        ConnectInfo, Path, RawQuery, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use chrono::SecondsFormat;
use serde_json::json;
use service_kit::{FailureLog, RequestTrace};
use telemetry::trace_id;
use uuid::Uuid;

use super::{
    App, customer_id,
    edit_link::{edit_link, has_parameter, parse_edit_link},
    field_errors::FieldErrors,
    form::RegistrationForm,
    pages::{self, DetailsNotice},
    problem::Problem,
    read_form,
    response::{Format, invalid_fields_json},
};
use crate::{postgres::PostgresError, store::RegisteredCustomer, version::CustomerVersion};

static PAGE_LOADS: FailureLog = FailureLog::new("page load");
static UPDATES: FailureLog = FailureLog::new("details update");

/// The reason why a request updates no details.
#[derive(Debug)]
enum UpdateFailure {
    Problem(Problem),
    InvalidFields(FieldErrors),
    NotSaved,
    /// With the time to wait.
    TooMany(Duration),
}

impl UpdateFailure {
    /// Returns the name for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.name(),
            Self::InvalidFields(_) => "invalid-fields",
            Self::NotSaved => "unavailable",
            Self::TooMany(_) => "too-many",
        }
    }
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let format = Format::from_accept(&headers);
    let shown = try_show(&app, format, path, query.as_deref()).await;
    shown.unwrap_or_else(|problem| format.problem(&problem))
}

async fn try_show(
    app: &App,
    format: Format,
    path: Result<Path<String>, PathRejection>,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let customer_id = customer_id(path)?;
    if has_parameter(query, "key") {
        try_show_details(app, format, &customer_id, query).await
    } else {
        try_show_confirmation(app, format, &customer_id).await
    }
}

async fn try_show_details(
    app: &App,
    format: Format,
    customer_id: &str,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let customer = parse_edit_link(customer_id, query).ok_or(Problem::NotFound)?;
    let version = loaded(app.store.current_version(&customer).await)?;
    let notice = match version.number {
        _ if has_parameter(query, "saved") => DetailsNotice::Saved,
        1 => DetailsNotice::Registered,
        _ => DetailsNotice::Returned,
    };
    Ok(match format {
        Format::Page => {
            let (link, form) = (edit_link(&customer), RegistrationForm::from_version(&version));
            pages::details(StatusCode::OK, &link, &form, &FieldErrors::default(), notice)
        }
        Format::Json => details_json(&version),
    })
}

/// Without the key, a confirmation shows that the customer exists and no details.
async fn try_show_confirmation(app: &App, format: Format, customer_id: &str) -> Result<Response, Problem> {
    let customer_id: Uuid = customer_id.parse().map_err(|_| Problem::NotFound)?;
    let registered_at = loaded(app.store.registered_at(customer_id).await)?;
    Ok(match format {
        Format::Page => pages::confirmation(),
        Format::Json => {
            let registered_at = registered_at.to_rfc3339_opts(SecondsFormat::Micros, true);
            Json(json!({"customer_id": customer_id, "registered_at": registered_at})).into_response()
        }
    })
}

/// Returns the loaded value, and logs failures of the database.
fn loaded<T>(result: Result<Option<T>, PostgresError>) -> Result<T, Problem> {
    match result {
        Ok(found) => {
            PAGE_LOADS.succeeded();
            found.ok_or(Problem::NotFound)
        }
        Err(error) => {
            PAGE_LOADS.failed(&error);
            Err(Problem::Unavailable)
        }
    }
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    trace: RequestTrace,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = Format::negotiate(&headers);
    let customer = customer_id(path).ok().and_then(|id| parse_edit_link(&id, query.as_deref()));
    let Some(customer) = customer else { return format.problem(&Problem::NotFound) };
    let mut form = RegistrationForm::default();
    let outcome = try_update(&app, &customer, peer, &trace, &headers, body, &mut form).await;
    app.metrics.updated(outcome.as_ref().map_or_else(UpdateFailure::name, |_| "updated"));
    render_update(format, outcome, &edit_link(&customer), &form)
}

/// Updates the details and leaves the fields in `form`, so that a page can show them again.
async fn try_update(
    app: &App,
    customer: &RegisteredCustomer,
    peer: SocketAddr,
    trace: &RequestTrace,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    form: &mut RegistrationForm,
) -> Result<CustomerVersion, UpdateFailure> {
    *form = read_form(headers, body)?;
    let update = form.parse_details()?;
    app.update_limit.try_acquire(app.client(peer, headers)).map_err(UpdateFailure::TooMany)?;
    let updated = app.store.update_details(customer, &update, trace.traceparent()).await;
    let updated = updated.inspect(|_| UPDATES.succeeded()).inspect_err(|error| UPDATES.failed(error));
    let version = updated?.ok_or(Problem::NotFound)?;
    app.relay.wake.notify_one();
    let trace_id = trace.traceparent().and_then(trace_id);
    tracing::debug!(customer_id = %customer.customer_id, version = version.number, trace_id, "updated details");
    Ok(version)
}

fn render_update(
    format: Format,
    outcome: Result<CustomerVersion, UpdateFailure>,
    link: &str,
    form: &RegistrationForm,
) -> Response {
    match (format, outcome) {
        (Format::Page, Ok(_)) => Redirect::to(&format!("{link}&saved")).into_response(),
        (Format::Json, Ok(version)) => details_json(&version),
        (Format::Page, Err(UpdateFailure::InvalidFields(errors))) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            pages::details(status, link, form, &errors, DetailsNotice::InvalidFields)
        }
        (Format::Json, Err(UpdateFailure::InvalidFields(errors))) => {
            invalid_fields_json(StatusCode::UNPROCESSABLE_ENTITY, &errors)
        }
        (_, Err(UpdateFailure::NotSaved)) => render_problem(format, &Problem::DetailsNotSaved, link, form),
        (_, Err(UpdateFailure::TooMany(wait))) => {
            render_problem(format, &Problem::TooManyChanges(wait), link, form)
        }
        (_, Err(UpdateFailure::Problem(problem))) => format.problem(&problem),
    }
}

/// Renders a problem above the form.
fn render_problem(format: Format, problem: &Problem, link: &str, form: &RegistrationForm) -> Response {
    match format {
        Format::Page => {
            let (errors, notice) = (FieldErrors::default(), DetailsNotice::Problem(problem));
            problem.with_retry_after(pages::details(problem.status(), link, form, &errors, notice))
        }
        Format::Json => format.problem(problem),
    }
}

fn details_json(version: &CustomerVersion) -> Response {
    let customer = &version.customer;
    Json(json!({
        "customer_id": customer.id,
        "version": version.number,
        "name": customer.name.as_str(),
        "marketing_consent": customer.marketing_consent,
    }))
    .into_response()
}

impl From<Problem> for UpdateFailure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<FieldErrors> for UpdateFailure {
    fn from(errors: FieldErrors) -> Self {
        Self::InvalidFields(errors)
    }
}

impl From<PostgresError> for UpdateFailure {
    fn from(_: PostgresError) -> Self {
        Self::NotSaved
    }
}
