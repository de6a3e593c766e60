//! A customer's details: seen and changed by whoever has the link that they were given.

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};
use messaging::child_traceparent;

use super::{
    App,
    answer::{Failure, Format},
    link::{link, parameters, whose},
    pages::Occasion,
    read,
};
pub(super) async fn show(app: &App, customer_id: &str, query: Option<&str>, format: Format) -> Response {
    let Some(whose) = whose(customer_id, query) else {
        return format.failure(&Failure::NotFound, None);
    };
    match app.store.version(whose.customer_id, whose.key).await {
        Ok(Some(version)) => {
            let occasion = match version.number {
                _ if parameters(query).any(|(name, _)| name == "saved") => Occasion::Saved,
                1 => Occasion::Registered,
                _ => Occasion::Return,
            };
            format.details(&link(&whose), &version, occasion)
        }
        Ok(None) => format.failure(&Failure::NotFound, None),
        Err(error) => {
            tracing::warn!("could not show a customer's details: {error}");
            format.failure(&Failure::Unavailable, None)
        }
    }
}

pub(super) async fn edit(
    State(app): State<App>,
    Path(customer_id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = Format::of_answer(&headers);
    let Some(whose) = whose(&customer_id, query.as_deref()) else {
        return format.failure(&Failure::NotFound, None);
    };
    let submission = match read(&headers, body) {
        Ok(submission) => submission,
        Err(failure) => return format.failure(&failure, None),
    };
    let (name, consent) = match submission.parse_details() {
        Ok(parsed) => parsed,
        Err(invalid) => return format.invalid_details(&link(&whose), &submission, &invalid),
    };
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = child_traceparent(traceparent);
    match app.store.edit(whose.customer_id, whose.key, (&name, consent), &traceparent).await {
        Ok(Some(version)) => {
            app.relay.wake.notify_one();
            tracing::debug!(customer_id = %whose.customer_id, version = version.number, "has these details");
            format.saved(&link(&whose), &version)
        }
        Ok(None) => format.failure(&Failure::NotFound, None),
        Err(error) => {
            tracing::warn!("could not save a customer's details: {error}");
            format.unsaved_details(&link(&whose), &submission)
        }
    }
}
