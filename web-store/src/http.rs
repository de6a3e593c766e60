//! The Web Store's HTTP: routes and handlers. Strings become a customer here, and only here.

mod answer;
mod pages;
mod submission;

use std::sync::Arc;

use axum::body::Bytes;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use messaging::{Link, next_traceparent};
use service::{Part, health};
use uuid::Uuid;

use crate::{
    customer::Customer,
    relay::Relay,
    store::{RegisterError, Store},
};
use answer::{Failure, Format};
use submission::{Invalid, Submission};

/// Far more than any honest form needs.
const BODY_BYTES: usize = 16 * 1024;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct App {
    /// The customers.
    pub store: Store,
    /// Told of each registration.
    pub relay: Arc<Relay>,
    /// The relay's state, for health.
    pub broker: Link,
}

/// All routes of the Web Store.
pub fn router(app: App) -> Router {
    let checked = app.clone();
    let health = health(move || parts(checked.clone()));
    Router::new()
        .route("/", get(pages::empty_form))
        .route("/style.css", get(pages::style))
        .route("/customers", post(register))
        .route("/customers/{customer_id}", get(registered))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
        .merge(health)
}

async fn register(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = Format::of_answer(&headers);
    let submission = match read(&headers, body) {
        Ok(submission) => submission,
        Err(failure) => return format.failure(&failure, None),
    };
    let (name, email, consent) = match submission.parse() {
        Ok(parsed) => parsed,
        Err(invalid) => return format.invalid(StatusCode::UNPROCESSABLE_ENTITY, &submission, &invalid),
    };
    let customer = Customer::new(name, email, consent);
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    match app.store.register(&customer, &next_traceparent(traceparent)).await {
        Ok(()) => {
            app.relay.wake.notify_one();
            tracing::debug!(customer_id = %customer.id, "registered");
            format.registered(customer.id)
        }
        Err(RegisterError::EmailTaken) => {
            format.invalid(StatusCode::CONFLICT, &submission, &Invalid::email_taken())
        }
        Err(RegisterError::Unavailable(error)) => {
            tracing::warn!("refused a registration: {error}");
            format.failure(&Failure::Unavailable, Some(&submission))
        }
    }
}

fn read(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Submission, Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let read = match media_type.as_str() {
        "application/x-www-form-urlencoded" => Submission::from_form,
        "application/json" => Submission::from_json,
        _ => return Err(Failure::UnsupportedMediaType),
    };
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge,
        _ => Failure::Malformed("The request broke off.".to_owned()),
    })?;
    read(&body).map_err(Failure::Malformed)
}

async fn registered(State(app): State<App>, headers: HeaderMap, Path(customer_id): Path<String>) -> Response {
    let format = Format::of_accept(&headers);
    let Ok(customer_id) = customer_id.parse::<Uuid>() else {
        return format.failure(&Failure::NotFound, None);
    };
    match app.store.registered_at(customer_id).await {
        Ok(Some(registered_at)) => format.confirmation(customer_id, registered_at),
        Ok(None) => format.failure(&Failure::NotFound, None),
        Err(error) => {
            tracing::warn!("could not show a confirmation: {error}");
            format.failure(&Failure::Unavailable, None)
        }
    }
}

async fn not_found(headers: HeaderMap) -> Response {
    Format::of_accept(&headers).failure(&Failure::NotFound, None).into_response()
}

/// The broker is optional: registering goes on without it, and events wait in the outbox.
async fn parts(app: App) -> Vec<Part> {
    let postgres = app.store.check().await.err().map(|error| error.to_string());
    vec![
        Part { name: "postgres", problem: postgres, optional: false },
        Part { name: app.broker.name(), problem: app.broker.problem(), optional: true },
    ]
}
