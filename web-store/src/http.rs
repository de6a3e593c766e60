//! The Web Store's HTTP: routes and handlers. Strings become a customer here, and only here.

mod answer;
mod details;
mod idempotency_key;
mod link;
mod pages;
mod submission;

pub(crate) use pages::STYLE;
pub use submission::{Invalid, Submission};

use std::{net::SocketAddr, sync::Arc};

use axum::body::Bytes;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use messaging::{ConnectionStatus, child_traceparent};
use service_kit::{HealthCheck, RateLimit, Stylesheet, TrustedProxies, health};
use uuid::Uuid;

use crate::{
    attempt::Attempt,
    customer::Customer,
    edit_key::EditKey,
    relay::Relay,
    store::{RegisterError, Registration, Store},
};
use answer::{Failure, Format};
use idempotency_key::idempotency_key;

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
    pub broker: ConnectionStatus,
    /// How often one client may register somebody.
    pub limit: Arc<RateLimit>,
    /// Whose word on the client's address is taken.
    pub proxies: TrustedProxies,
}

/// All routes of the Web Store.
pub fn router(app: App) -> Router {
    let checked = app.clone();
    let health = health(move || parts(checked.clone()));
    Router::new()
        .route("/", get(pages::empty_form))
        .route(Stylesheet::ROUTE, get(async |version| STYLE.serve(version)))
        .route("/customers", post(register))
        .route("/customers/{customer_id}", get(registered).post(details::edit))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
        .merge(health)
        .fallback(async |headers: HeaderMap| fails(&headers, &Failure::NotFound))
        .method_not_allowed_fallback(async |headers: HeaderMap| fails(&headers, &Failure::MethodNotAllowed))
}

async fn register(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
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
    let attempt = match idempotency_key(&headers, &submission) {
        Ok(key) => key.map(|key| Attempt::new(key, &customer)),
        Err(detail) => return format.failure(&Failure::Malformed(detail), Some(submission)),
    };
    if let Err(wait) = app.limit.try_acquire(app.proxies.client(peer, &headers)) {
        return format.failure(&Failure::TooMany(wait), Some(submission));
    }
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = child_traceparent(traceparent);
    let registration = Registration { customer, key: EditKey::random(), attempt, traceparent };
    match app.store.register(registration).await {
        Ok(registered) => {
            app.relay.wake.notify_one();
            tracing::debug!(customer_id = %registered.customer_id, "registered");
            format.registered(&registered)
        }
        Err(RegisterError::EmailTaken) => {
            format.invalid(StatusCode::CONFLICT, &submission, &Invalid::email_taken())
        }
        Err(RegisterError::KeyUsed) => format.failure(&Failure::KeyUsed, Some(submission.with_new_key())),
        Err(RegisterError::Unavailable(error)) => {
            tracing::warn!("refused a registration: {error}");
            format.failure(&Failure::Unavailable, Some(submission))
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

async fn registered(
    State(app): State<App>,
    headers: HeaderMap,
    Path(customer_id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let format = Format::of_accept(&headers);
    if link::has_key(query.as_deref()) {
        return details::show(&app, &customer_id, query.as_deref(), format).await;
    }
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

fn fails(headers: &HeaderMap, failure: &Failure) -> Response {
    Format::of_accept(headers).failure(failure, None)
}

/// The broker is optional: registering goes on without it, and events wait in the outbox.
async fn parts(app: App) -> Vec<HealthCheck> {
    let postgres = app.store.check().await.err().map(|error| error.to_string());
    vec![
        HealthCheck { name: "postgres", problem: postgres, optional: false },
        HealthCheck { name: app.broker.name(), problem: app.broker.problem(), optional: true },
    ]
}
