//! The HTTP server: time limits, security headers, and a graceful shutdown.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Time for requests in flight after shutdown has begun. An idle keep-alive connection does not delay the
/// end of the process.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Time for a client to send the head of its next request. It closes slow and idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time from the head of a request to the head of its response, including a slow request body. Longer than
/// the deadline of any handler.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after the process could not accept a connection, for example without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Allows HTML with one style sheet of the same host, `data:` images, and forms to the same host. No other
/// page may embed these pages in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; \
                                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 9] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // For browsers without `frame-ancestors`.
    (header::X_FRAME_OPTIONS, "DENY"),
    // An address can contain an id or a search, so other hosts do not receive it.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    // Responses contain personal data, unless the handler sets another value.
    (header::CACHE_CONTROL, "no-store"),
];

/// Binds the address. Services do this before anything else, so that a taken port ends them immediately.
///
/// # Errors
/// Returns an error if the address is in use or does not belong to this machine.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another address with --listen"))
}

/// Serves requests until shutdown, and then finishes the requests in flight.
///
/// A server that fails shuts down the rest of the process. Every response has the security headers. Handlers
/// find the peer's address as [`ConnectInfo`].
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(listener: TcpListener, app: Router, shutdown: &CancellationToken) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "listening");
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connections = GracefulShutdown::new();
    let served = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                let app = app.clone();
                let service = service_fn(move |request| respond(app.clone(), peer, request));
                let connection = http.serve_connection(TokioIo::new(stream), service);
                // A connection fails only through its client, which left or does not speak HTTP.
                tokio::spawn(connections.watch(connection));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) if error.raw_os_error().is_some() => {
                tracing::warn!("cannot accept connections: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => break Err(error).context("the HTTP listener failed"),
        }
    };
    shutdown.cancel();
    let _ = timeout(SHUTDOWN_GRACE_PERIOD, connections.shutdown()).await;
    served
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn respond(
    app: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = match timeout(REQUEST_TIMEOUT, app.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => request_timeout(),
    };
    add_security_headers(response.headers_mut());
    Ok(response)
}

fn request_timeout() -> Response {
    let close = [(header::CONNECTION, "close")];
    (StatusCode::REQUEST_TIMEOUT, close, "The request took too long. Try again.\n").into_response()
}

/// Adds the security headers that the handler has not set.
fn add_security_headers(headers: &mut HeaderMap) {
    headers.reserve(SECURITY_HEADERS.len());
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
