//! The health routes, and the probe that asks for them.
//!
//! `/health/live` responds while the process runs. `/health/ready` responds with 200 if the service can do
//! its work, and lists the state of each dependency. A service that drains is not ready.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::{Extension, Json, Router, http::StatusCode, routing::get};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::write_stdout;

/// Marks the requests that a service serves while it drains. The server adds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draining;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of one dependency of the service.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// Name in the response, such as `broker`.
    pub name: &'static str,
    /// Reason for which the dependency is unavailable, or `None` if it is available.
    pub problem: Option<String>,
    /// Whether the service stays ready while the dependency is unavailable.
    pub optional: bool,
}

/// Returns the two health routes. Each request for readiness calls `checks`.
pub fn health<C, F>(checks: C) -> Router
where
    C: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Vec<HealthCheck>> + Send,
{
    Router::new().route("/health/live", get(|| async { Json(json!({"status": "live"})) })).route(
        "/health/ready",
        get(move |draining: Option<Extension<Draining>>| async move {
            readiness(&checks().await, draining.is_some())
        }),
    )
}

fn readiness(checks: &[HealthCheck], is_draining: bool) -> (StatusCode, Json<Value>) {
    let works = checks.iter().all(|check| check.optional || check.problem.is_none());
    let state = |check: &HealthCheck| match &check.problem {
        None => json!("up"),
        Some(problem) => json!(format!("down: {problem}")),
    };
    let parts: Map<_, _> = checks.iter().map(|check| (check.name.to_owned(), state(check))).collect();
    let (code, status) = match (works, is_draining) {
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
        (true, false) => (StatusCode::OK, "ready"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (code, Json(json!({"status": status, "parts": parts})))
}

/// Asks the service that listens on `listen` whether it is ready, and prints its response.
///
/// This is the `health` subcommand of every service. A container's health check runs it, because the image
/// contains no curl.
///
/// # Errors
/// Returns an error if the service is not ready, or does not respond within 5 s.
pub async fn probe_health(listen: SocketAddr) -> anyhow::Result<()> {
    timeout(PROBE_TIMEOUT, probe(loopback(listen))).await.context("no response within 5 s")?
}

/// Sends the request by hand: the probe needs only the status line and the body.
async fn probe(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    let request = format!("GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    write_stdout(&format!("{body}\n"))?;
    ensure!(response.starts_with("HTTP/1.1 200 "), "not ready");
    Ok(())
}

/// Returns the address for a connection from this machine: the loopback address if the service listens on
/// every address.
fn loopback(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::{HealthCheck, loopback, readiness};

    #[test]
    fn service_is_ready_without_optional_dependency() {
        let check = |name, problem: Option<&str>, optional| HealthCheck {
            name,
            problem: problem.map(Into::into),
            optional,
        };
        let (code, body) =
            readiness(&[check("postgres", None, false), check("broker", Some("refused"), true)], false);
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["parts"]["broker"], "down: refused");
        let (code, _) = readiness(&[check("postgres", Some("refused"), false)], false);
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn probe_of_unspecified_address_uses_loopback() {
        for (listen, probed) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(loopback(listen.parse().unwrap()), probed.parse().unwrap());
        }
    }
}
