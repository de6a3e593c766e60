//! The trace of a request.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request},
    http::request::Parts,
    response::Response,
};
use telemetry::{BatchSpan, KeyValue, is_enabled, server_span};

use crate::{TrustedProxies, server::HEALTH_PATHS};

/// The trace context for the messages that a request causes.
///
/// It comes from the caller only if that is a trusted proxy.
#[derive(Debug, Clone, Default)]
pub struct RequestTrace(Option<String>);

impl RequestTrace {
    /// Returns the `traceparent`, or `None` if a message starts a trace.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Starts the span of a request, and leaves its [`RequestTrace`] in the request.
pub(crate) fn start(
    request: &mut Request,
    proxies: &TrustedProxies,
    method: &'static str,
) -> Option<BatchSpan> {
    if request.uri().path().starts_with(HEALTH_PATHS) {
        return None;
    }
    let received = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    if received.is_none() && !is_enabled() {
        return None;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_trusted = peer.is_some_and(|ConnectInfo(peer)| proxies.contains(peer.ip().to_canonical()));
    let (parent, stranger) = if is_trusted { (received, None) } else { (None, received) };
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let attributes =
        vec![KeyValue::new("http.request.method", method), KeyValue::new("http.route", route.to_owned())];
    let (span, traceparent) = server_span(format!("{method} {route}"), parent, stranger, attributes);
    request.extensions_mut().insert(RequestTrace(traceparent));
    span
}

/// Notes the status of the response. A status of 500 or more is an error.
pub(crate) fn end(span: Option<BatchSpan>, response: &Response) {
    let Some(mut span) = span else { return };
    let status = response.status();
    span.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}
