//! The metrics of a process: `GET /metrics` on an address of its own, in the OpenMetrics text format.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Args;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    HttpLimits, Shutdown, TrustedProxies, bind, process_metrics::ProcessMetrics, request_trace,
    server::serve_requests,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of durations in seconds, as OpenTelemetry advises for HTTP servers:
/// <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration>.
const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Setting of the metrics endpoint.
#[derive(Debug, Clone, Args)]
pub struct MetricsEndpoint {
    /// Address on which `GET /metrics` is served, for example `127.0.0.1:9100`. It must not be public. Without this
    /// setting, the system chooses a free port on the loopback address, and the log contains it
    #[arg(
        long = "metrics-listen",
        env = "METRICS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    metrics_listen: SocketAddr,
}

impl MetricsEndpoint {
    /// Binds the address.
    ///
    /// # Errors
    /// Returns an error if the address is in use or does not belong to this machine.
    pub async fn bind(&self) -> anyhow::Result<TcpListener> {
        bind(self.metrics_listen, "--metrics-listen").await
    }
}

/// Returns a registry with the version of the program and the resources of the process.
#[must_use]
pub fn metrics_registry(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("version", version)]);
    registry.register("build", "The release of the program", build);
    registry.register_collector(Box::new(ProcessMetrics));
    registry
}

/// Serves the metrics until shutdown. Each request first calls `refresh`, which measures values that are not counted
/// when they change.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve_metrics<R, F>(
    listener: TcpListener,
    registry: Registry,
    refresh: R,
    shutdown: &CancellationToken,
) -> anyhow::Result<()>
where
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    let registry = Arc::new(registry);
    let handler = move || async move {
        refresh().await;
        render(&registry)
    };
    let routes = Router::new().route("/metrics", get(handler));
    serve_requests(listener, routes, HttpLimits::default(), &Shutdown::without_draining(shutdown)).await
}

fn render(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The connections to a database, by pool and state. Clones share them.
#[derive(Debug, Clone)]
pub struct PoolMetrics(Family<PoolLabels, Gauge>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    db_client_connection_pool_name: &'static str,
    db_client_connection_state: &'static str,
}

impl PoolMetrics {
    /// Creates the metric and registers it.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let connections = Family::default();
        let help = "Connections to the database, by pool and state";
        registry.register("db_client_connection_count", help, Family::clone(&connections));
        Self(connections)
    }

    /// Sets the numbers of connections of a pool that are idle and in use.
    pub fn set(&self, pool: &'static str, idle: usize, used: usize) {
        for (state, connections) in [("idle", idle), ("used", used)] {
            let labels =
                PoolLabels { db_client_connection_pool_name: pool, db_client_connection_state: state };
            self.0.get_or_create(&labels).set(i64::try_from(connections).unwrap_or(i64::MAX));
        }
    }
}

/// The duration of requests by method, route, and status. Clones share it.
#[derive(Debug, Clone)]
pub struct HttpMetrics(Family<RequestLabels, Histogram, fn() -> Histogram>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "they are the names of the labels")]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

impl HttpMetrics {
    /// Creates the metric and registers it.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> _);
        let help = "Time from the head of a request to the head of its response";
        registry.register_with_unit("http_server_request_duration", help, Unit::Seconds, durations.clone());
        Self(durations)
    }

    /// Returns the router, which measures and traces its requests. Requests without a route have an empty one. A trace
    /// of a trusted proxy is continued.
    pub fn observe(&self, router: Router, proxies: &TrustedProxies) -> Router {
        let observer = Arc::new((self.clone(), proxies.clone()));
        router.layer(middleware::from_fn_with_state(observer, observe))
    }
}

async fn observe(
    State(observer): State<Arc<(HttpMetrics, TrustedProxies)>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let http_request_method = known_method(request.method().as_str());
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let http_route = route.unwrap_or_default().to_owned();
    let (HttpMetrics(durations), proxies) = &*observer;
    let span = request_trace::start(&mut request, proxies, http_request_method);
    let response = next.run(request).await;
    request_trace::end(span, &response);
    let http_response_status_code = response.status().as_u16();
    let labels = RequestLabels { http_request_method, http_route, http_response_status_code };
    durations.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    response
}

/// Returns the method, or `_OTHER` for methods that a client may invent.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}
