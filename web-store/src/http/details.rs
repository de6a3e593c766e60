//! A customer's details: seen and changed by whoever has the link that they were given.

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};
use messaging::next_traceparent;
use uuid::Uuid;

use super::{
    App,
    answer::{Failure, Format},
    pages::Occasion,
    read,
};
use crate::store::Registered;

/// The link: it has the key in its query, which other hosts are not told of and logs do not hold.
pub(super) fn link(registered: &Registered) -> String {
    format!("/customers/{}?key={}", registered.customer_id, registered.key)
}

/// Whether a request comes by the link, or by something that looks like it.
pub(super) fn has_key(query: Option<&str>) -> bool {
    parameters(query).any(|(name, _)| name == "key")
}

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
    let traceparent = next_traceparent(traceparent);
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

fn whose(customer_id: &str, query: Option<&str>) -> Option<Registered> {
    let (_, key) = parameters(query).find(|(name, _)| *name == "key")?;
    Some(Registered { customer_id: customer_id.parse::<Uuid>().ok()?, key: key.parse().ok()? })
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
