//! `console serve`: the page of the operators, and the watch of `reconcile --watch` in the same process.
//!
//! The page shows the picture of the system: a sentence with the cause, the stations from the Web Store to Marketing, and
//! the dead letters. It is complete without JavaScript. A script replaces its parts once a second.

mod access;
mod alerts;
mod facts;
mod find;
mod format;
mod found;
mod history;
mod journal;
mod kept;
mod letters;
mod login;
mod objective;
mod operation;
mod operations;
mod records;
mod runbook;
mod sampler;
mod sentence;
mod subscriptions;
mod user;
mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use readers::connections::Connections;
use reconciliation::Sources;
use service_kit::{
    HealthCheck, HttpLimits, HttpMetrics, Logging, MetricsEndpoint, Stylesheet, health, metrics_registry,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use access::Access;
use facts::Facts;
use operations::Operations;
use runbook::RUNBOOK;
use sampler::Sampler;
use user::User;
use view::Frame;

/// The default address.
const LISTEN: &str = "127.0.0.1:8083";

/// Size of a form with the ids of letters, or with an edited body.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Allows, in addition to the pages of the services, one script of the same host and its stream of events.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
     img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The interval of comments in a stream without events, so that proxies keep it open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Serves the page of the operators, and watches the customers as `reconcile --watch` does
///
/// The page shows the whole system and acts on dead letters. It needs a log-in: --operator-password-hash, or a trusted
/// proxy with --user-header.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address on which HTTP is served
    #[arg(long, env = "CONSOLE_LISTEN", default_value = LISTEN)]
    listen: SocketAddr,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    access: access::Settings,
    #[command(flatten)]
    alerts: alerts::AlertSource,
    /// Whether the watch requests replays of lost messages
    #[arg(long, env = "CONSOLE_REPAIR", value_name = "BOOLEAN", default_value_t = true, action = clap::ArgAction::Set)]
    repair: bool,
    #[command(flatten)]
    http: HttpLimits,
    #[command(flatten)]
    metrics: MetricsEndpoint,
    #[command(flatten)]
    logging: Logging,
}

/// Asks the page that runs on this machine whether it is ready
///
/// The exit status is 0 if it is ready, and 1 otherwise.
#[derive(Debug, clap::Args)]
pub struct HealthArguments {
    /// Address on which HTTP is served
    #[arg(long, env = "CONSOLE_LISTEN", default_value = LISTEN)]
    listen: SocketAddr,
}

/// Serves the page until SIGTERM or SIGINT.
///
/// # Errors
/// Returns an error if the address is in use, or if the HTTP server fails.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { listen, sources, access, alerts, repair, http, metrics, logging } = arguments;
    logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(listen, "--listen").await?;
    let metrics_listener = metrics.bind().await?;
    let stop = service_kit::shutdown_on_signal(http.shutdown_delay())?;
    let shutdown = stop.token();
    let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
    let watch_metrics = reconciliation::watch::Metrics::register(&mut registry);
    let http_metrics = HttpMetrics::register(&mut registry);

    let connections = sources.connections.clone();
    let sampler = Sampler::new(connections.clone(), watch_metrics.clone(), repair, alerts.prometheus_url);
    let sampler = Arc::new(sampler);
    let (frames, frame) = watch::channel(Arc::new(Frame::empty()));
    let access_proxies = access.proxies.clone();
    let app = Access::new(&access)?.map(|access| App {
        access: Arc::new(access),
        frames: frame.clone(),
        operations: Operations::new(connections.clone(), Arc::clone(&sampler)),
        connections: Arc::new(connections),
        shutdown: shutdown.clone(),
    });
    let router = http_metrics.observe(router(app, health_routes(frame)), &access_proxies);
    let limits = http.with_proxies(&access_proxies);
    let serving = service_kit::serve(listener, router, limits, &stop);
    let metrics = (registry, watch_metrics);
    let watching = reconciliation::watch::watch(&sources, repair, metrics, metrics_listener, &shutdown);
    let sampling = async {
        tokio::select! {
            never = sampler.run(|facts| drop(frames.send_replace(Arc::new(Frame::new(facts))))) => match never {},
            () = shutdown.cancelled() => {}
        }
    };
    let (served, watched, ()) = tokio::join!(serving, Box::pin(watching), Box::pin(sampling));
    served.and(watched)
}

/// Asks the page that runs on this machine whether it is ready, and prints its response.
///
/// # Errors
/// Returns an error if the page is not ready.
pub async fn probe_health(arguments: &HealthArguments) -> anyhow::Result<()> {
    service_kit::probe_health(arguments.listen).await
}

/// State of the handlers.
#[derive(Clone)]
struct App {
    access: Arc<Access>,
    frames: watch::Receiver<Arc<Frame>>,
    operations: Operations,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
}

/// Returns all routes of the page. Without an app, the page is off.
fn router(app: Option<App>, health: Router) -> Router {
    let pages = match app {
        None => {
            Router::new().route("/", get(async || view::off())).route("/log-in", get(async || view::off()))
        }
        Some(app) => Router::new()
            .route("/", get(picture))
            .route("/events", get(events))
            .route("/dead-letters", get(letters::group))
            .route("/dead-letters/retry", post(letters::retry))
            .route("/dead-letters/discard", post(letters::discard))
            .route("/dead-letters/edit", post(letters::edit))
            .route("/find", get(find::form).post(find::submit))
            .route("/journal", get(journal::show))
            .route("/kept", get(kept::show))
            .route("/kept/restore", post(kept::restore))
            .route("/operations/{id}", get(operation::show))
            .route("/operations/{id}/cancel", post(operation::cancel))
            .route("/operations/{id}/resume", post(operation::resume))
            .route("/runbook", get(async |user: User| view::runbook(&user, &RUNBOOK)))
            .route("/subscriptions", get(subscriptions::show).post(subscriptions::submit))
            .route("/log-in", get(login::form).post(login::log_in))
            .route("/log-out", post(login::log_out))
            .with_state(app),
    };
    pages
        .route("/robots.txt", get(async || "User-agent: *\nDisallow: /\n"))
        .route(Stylesheet::ROUTE, get(async |version| view::STYLE.serve(version)))
        .route(view::SCRIPT_ROUTE, get(async || view::script()))
        .merge(health)
        .fallback(async || {
            view::failure(StatusCode::NOT_FOUND, "There is nothing here", "Check the address.")
        })
        .method_not_allowed_fallback(async || {
            let detail = "The picture of the system is at /.";
            view::failure(StatusCode::METHOD_NOT_ALLOWED, "That cannot be done here", detail)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(async |mut response: Response| {
            let headers = response.headers_mut();
            let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            let robots = HeaderName::from_static("x-robots-tag");
            headers.insert(robots, HeaderValue::from_static("noindex, nofollow"));
            response
        }))
}

/// Returns the health routes. The page is ready while it can be shown, because it shows servers that are unavailable.
fn health_routes(frame: watch::Receiver<Arc<Frame>>) -> Router {
    health(move || {
        let facts = frame.borrow().facts.clone();
        async move {
            let check = |name, problem: Option<String>| HealthCheck { name, problem, optional: true };
            let unread = || Some("not read yet".to_owned());
            let of = |problem: fn(&Facts) -> Option<String>| facts.as_ref().map_or_else(unread, problem);
            vec![
                check("broker", of(|facts| facts.broker_problem().map(str::to_owned))),
                check("mysql", of(|facts| facts.marketing.as_ref().err().cloned())),
                check("postgres", of(|facts| facts.web_store.as_ref().err().cloned())),
            ]
        }
    })
}

async fn picture(user: User, State(app): State<App>) -> Response {
    let frame = app.frames.borrow().clone();
    view::picture(&user, &frame)
}

/// Streams the parts of the picture, once a second, until the session ends.
async fn events(
    _: User,
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let shutdown = app.shutdown.clone();
    let frames = frames(app, peer, headers).take_until(shutdown.cancelled_owned());
    let stream = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([(HeaderName::from_static("x-accel-buffering"), "no")], stream).into_response()
}

fn frames(
    app: App,
    peer: SocketAddr,
    headers: HeaderMap,
) -> impl Stream<Item = Result<Event, axum::Error>> + Send {
    let mut frames = app.frames.clone();
    frames.mark_changed();
    stream::unfold((frames, app, headers), move |(mut frames, app, headers)| async move {
        frames.changed().await.ok()?;
        app.access.user(peer, &headers)?;
        let parts = frames.borrow_and_update().parts.clone();
        Some((Ok(Event::default().data(parts)), (frames, app, headers)))
    })
}
