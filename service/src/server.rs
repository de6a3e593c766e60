//! The HTTP server: bound before anything else starts, drained on shutdown.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use axum::Router;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

/// How long requests may take to end once shutdown has begun; an idle keep-alive connection must not
/// hold up the process.
const GRACE: Duration = Duration::from_secs(5);

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
/// down the rest of the process.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, app: Router, shutdown: &CancellationToken) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "listening");
    let stop = shutdown.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    let ended = tokio::select! {
        result = async { server.await } => result.context("the HTTP server broke"),
        () = async { shutdown.cancelled().await; sleep(GRACE).await } => Ok(()),
    };
    shutdown.cancel();
    ended
}
