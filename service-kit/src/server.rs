//! The HTTP server: bound before anything else starts, patient with nobody for ever, drained on shutdown.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::security_headers::security_headers;

/// How long requests may take to end once shutdown has begun; an idle keep-alive connection must not
/// hold up the process.
const GRACE: Duration = Duration::from_secs(5);

/// How long a client may take for the head of its next request: a slow one must not keep its connection,
/// and an idle one is closed.
const HEAD: Duration = Duration::from_secs(30);

/// From the head of a request to that of its answer: a body that trickles in ends here. Longer than any
/// handler's own deadline.
const REQUEST: Duration = Duration::from_secs(10);

/// Binds an address.
///
/// # Errors
/// The address is taken, or not this machine's.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another with --listen"))
}

/// Serves until shutdown, and then until the requests in hand are answered. A server that breaks shuts
/// down the rest of the process. Every answer has the security headers; handlers find the
/// peer's address as [`ConnectInfo`].
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, app: Router, shutdown: &CancellationToken) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "listening");
    let connections = TaskTracker::new();
    let ended = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, app.clone(), shutdown.clone()));
            }
            Err(error) if concerns_one_connection(&error) => {}
            // Out of file descriptors, say: it may pass.
            Err(error) if error.raw_os_error().is_some() => {
                tracing::warn!("cannot accept connections: {error}");
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => break Err(error).context("the HTTP server broke"),
        }
    };
    shutdown.cancel();
    connections.close();
    let _ = timeout(GRACE, connections.wait()).await;
    ended
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, until it is closed, idle for too long, or done with its request at shutdown.
async fn connection(stream: TcpStream, peer: SocketAddr, app: Router, shutdown: CancellationToken) {
    let service = service_fn(move |request| answer(app.clone(), peer, request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // What goes wrong here is the client's: it went away, or does not speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(
    app: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = match timeout(REQUEST, app.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => too_slow(),
    };
    security_headers(response.headers_mut());
    Ok(response)
}

fn too_slow() -> Response {
    let mut response =
        (StatusCode::REQUEST_TIMEOUT, "The request took too long. Try again.\n").into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
