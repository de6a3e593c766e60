//! The HTTP interface: routes, and shared parts of the handlers. Only here does input become a customer.

mod details;
mod edit_link;
mod field_errors;
mod form;
mod pages;
mod problem;
mod register;
mod response;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use messaging::{ConnectionStatus, SubscriptionControl};
use service_kit::{HealthCheck, RateLimit, Stylesheet, TrustedProxies, health};

use crate::{
    metrics::Metrics,
    relay::Relay,
    store::{Store, StoreHealth},
};
use problem::Problem;
use response::Format;

pub use field_errors::FieldErrors;
pub use form::{FormError, RegistrationForm};
pub(crate) use pages::STYLE;

/// Far more than any valid form needs.
const BODY_BYTES: usize = 16 * 1024;

/// The state that the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    /// Woken after each commit that writes to the outbox.
    pub(crate) relay: Arc<Relay>,
    /// The relay's connection, for health checks.
    pub(crate) broker: ConnectionStatus,
    /// The connections of replays and erasures, for health checks.
    pub(crate) requests: [ConnectionStatus; 3],
    /// The subscriptions to requests for replays and erasures, for health checks.
    pub(crate) controls: [SubscriptionControl; 2],
    /// The migrations of this process, for health checks.
    pub(crate) migrations: Option<ConnectionStatus>,
    /// Limits the registrations of one client address.
    pub(crate) registration_limit: RateLimit,
    /// Limits the changes of details from one client address.
    pub(crate) update_limit: RateLimit,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub(crate) proxies: TrustedProxies,
    pub(crate) metrics: Metrics,
}

/// Returns all routes of the Web Store.
pub(crate) fn router(app: App) -> Router {
    let app = Arc::new(app);
    let checked = Arc::clone(&app);
    let health = health(move || health_checks(Arc::clone(&checked)));
    let (metrics, proxies) = (app.metrics.http.clone(), app.proxies.clone());
    let router = Router::new()
        .route("/", get(pages::empty_form))
        .route(Stylesheet::ROUTE, get(async |version| STYLE.serve(version)))
        .route("/customers", post(register::register))
        .route("/customers/{customer_id}", get(details::show).post(details::update))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
        .merge(health)
        .fallback(async |headers: HeaderMap| render_problem(&headers, &Problem::NotFound))
        .method_not_allowed_fallback(async |headers: HeaderMap| {
            render_problem(&headers, &Problem::MethodNotAllowed)
        });
    metrics.observe(router, &proxies)
}

impl App {
    /// Returns the client that the limits count.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.client(peer, headers)
    }
}

/// Returns the customer's id from the path. A path that is not UTF-8 leads to no customer.
fn customer_id(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(customer_id) = path.map_err(|_| Problem::NotFound)?;
    Ok(customer_id)
}

/// Reads the fields of a form or of a JSON object, by the content type.
///
/// # Errors
/// Returns [`Problem`] if the body is too large, incomplete, malformed, or of another type.
fn read_form(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<RegistrationForm, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let decode = match media_type.as_str() {
        "application/x-www-form-urlencoded" => RegistrationForm::from_urlencoded,
        "application/json" => RegistrationForm::from_json,
        _ => return Err(Problem::UnsupportedMediaType),
    };
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge,
        _ => Problem::Malformed("The request is incomplete.".to_owned()),
    })?;
    Ok(decode(&body)?)
}

fn render_problem(headers: &HeaderMap, problem: &Problem) -> Response {
    Format::from_accept(headers).problem(problem)
}

/// The broker is optional: registration continues without it, and events wait in the outbox. So are replays and
/// erasures, which continue later. Migrations are optional while the schema is sufficient without them.
async fn health_checks(app: Arc<App>) -> Vec<HealthCheck> {
    let StoreHealth { postgres, schema } = app.store.check().await;
    let migrations = app.migrations.as_ref().and_then(ConnectionStatus::problem);
    let mut checks = vec![
        HealthCheck { name: "postgres", problem: postgres, optional: false },
        HealthCheck { name: "schema", problem: schema, optional: false },
        HealthCheck { name: app.broker.name(), problem: app.broker.problem(), optional: true },
    ];
    checks.extend(app.requests.iter().map(|status| HealthCheck {
        name: status.name(),
        problem: status.problem(),
        optional: true,
    }));
    let problem = SubscriptionControl::problems(&app.controls);
    checks.push(HealthCheck { name: "subscriptions", problem, optional: true });
    if let Some(status) = &app.migrations {
        checks.push(HealthCheck { name: status.name(), problem: migrations, optional: true });
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::{
        io, iter,
        net::{Ipv4Addr, SocketAddr},
        sync::{Arc, Mutex},
    };

    use axum::{
        body::{Body, to_bytes},
        extract::{ConnectInfo, Request},
        http::{Method, StatusCode, header},
        response::Response,
    };
    use contracts::topology::{WEB_STORE_ERASE_CUSTOMER, WEB_STORE_REPLAY_CUSTOMERS};
    use messaging::{ConnectionStatus, SubscriptionControl};
    use prometheus_client::registry::Registry;
    use service_kit::RateLimit;
    use tokio::task::JoinSet;
    use tower::ServiceExt;

    use super::{App, router};
    use crate::{metrics::Metrics, postgres::DatabaseUrl, relay::Relay, store::Store};

    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct LogWriter;

    impl io::Write for LogWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns an app whose servers refuse connections: port 1 of this machine is closed. `limit` is the number of
    /// changes of details per minute.
    fn app_without_servers(limit: u32) -> App {
        let database: DatabaseUrl = "postgres://user@127.0.0.1:1/none".parse().unwrap();
        let broker = "amqp://user:password@127.0.0.1:1/%2f".parse().unwrap();
        let metrics = Metrics::register(&mut Registry::default());
        App {
            store: Store::new(database.clone(), 20, &metrics.registrations),
            relay: Arc::new(Relay::new(database, broker, metrics.messaging.clone())),
            broker: ConnectionStatus::new("broker"),
            requests: ["requests", "replays", "erasures"].map(ConnectionStatus::new),
            controls: [&WEB_STORE_REPLAY_CUSTOMERS, &WEB_STORE_ERASE_CUSTOMER].map(SubscriptionControl::new),
            migrations: None,
            registration_limit: RateLimit::per_minute(0),
            update_limit: RateLimit::per_minute(limit),
            proxies: service_kit::TrustedProxies::default(),
            metrics,
        }
    }

    #[tokio::test]
    async fn outage_of_postgres_logs_one_line_per_operation() {
        let subscriber = tracing_subscriber::fmt().with_writer(|| LogWriter).with_ansi(false).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let router = router(app_without_servers(0));
        let details = "/customers/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71?key=01938c5e7b1a7c3e9f005d2a8e4b6c71";
        let mut responses = JoinSet::new();
        let requests = [(Method::POST, "/customers"), (Method::GET, details), (Method::POST, details)];
        for (method, uri) in iter::repeat_n(requests, 20).flatten() {
            let request = Request::builder().method(method).uri(uri);
            let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let mut request = request.body(Body::from("name=Ann&email=ann%40example.org")).unwrap();
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
            responses.spawn(router.clone().oneshot(request));
        }
        while let Some(response) = responses.join_next().await {
            let response = response.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        }
        let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
        for operation in ["registration", "page load", "details update"] {
            assert_eq!(log.matches(&format!("{operation} failed: ")).count(), 1, "{operation}: {log}");
        }
        assert_eq!(log.lines().count(), 3, "{log}");
    }

    fn request(method: Method, uri: &str, body: &'static str) -> Request {
        let request = Request::builder().method(method).uri(uri).header(header::ACCEPT, "text/html");
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        request
    }

    async fn page(response: Response) -> String {
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn path_that_is_not_utf8_leads_to_the_page_for_404() {
        let router = router(app_without_servers(0));
        for method in [Method::GET, Method::POST] {
            for uri in ["/customers/%FF", "/customers/%C3%28?key=1", "/customers/unknown", "/no/such/page"] {
                let response =
                    router.clone().oneshot(request(method.clone(), uri, "name=Ann")).await.unwrap();
                assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {uri}");
                assert!(page(response).await.contains("There is nothing here"), "{method} {uri}");
            }
        }
    }

    #[tokio::test]
    async fn changes_of_details_are_limited_and_keep_the_input() {
        let app = app_without_servers(1);
        // The store is not asked, so no failure of the database gets into the log of the other test.
        app.update_limit.try_acquire(Ipv4Addr::LOCALHOST.into()).unwrap();
        let router = router(app);
        let link = "/customers/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71?key=01938c5e7b1a7c3e9f005d2a8e4b6c71";
        let invalid = router.clone().oneshot(request(Method::POST, link, "name=")).await.unwrap();
        assert_eq!(invalid.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let response = router.oneshot(request(Method::POST, link, "name=Zo%C3%AB")).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let page = page(response).await;
        assert!(page.contains("value=\"Zoë\"") && page.contains("Too many changes"), "{page}");
    }
}
