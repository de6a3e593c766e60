//! Marketing's HTTP: its list of customers, for the operator alone.

mod export;
mod login;
mod pages;
mod query;
mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use service_kit::{RateLimit, Stylesheet, TrustedProxies};

use crate::{
    list::{List, Page, Start, Unavailable},
    operator::{Operator, PasswordHash},
    totals::Totals,
};
use query::{ListQuery, QueryResult};
use sessions::{LoggedIn, Sessions};

pub(crate) use pages::STYLE;

/// A password, and nothing longer.
const BODY_BYTES: usize = 4 * 1024;

const ROWS: usize = 50;

/// Attempts to log in that one client has in a minute.
const LOGINS_PER_MINUTE: u32 = 10;

/// What the handlers work with.
#[derive(Clone)]
pub struct App {
    list: List,
    totals: Arc<Totals>,
    operator: Operator,
    sessions: Arc<Sessions>,
    logins: Arc<RateLimit>,
    proxies: TrustedProxies,
}

impl App {
    /// The list, for whoever has the password.
    #[must_use]
    pub fn new(list: List, password: PasswordHash, proxies: TrustedProxies) -> Self {
        Self {
            totals: Arc::new(Totals::new(list.clone())),
            list,
            operator: Operator::new(password),
            sessions: Arc::default(),
            logins: Arc::new(RateLimit::per_minute(LOGINS_PER_MINUTE)),
            proxies,
        }
    }
}

/// All routes of Marketing. Without an app, which takes a password, the list is off.
pub fn router(app: Option<App>, health: Router) -> Router {
    let list = match app {
        None => Router::new()
            .route("/customers", get(async || pages::off()))
            .route("/log-in", get(async || pages::off())),
        Some(app) => Router::new()
            .route("/customers", get(customers))
            .route("/customers/export.csv", get(export::csv))
            .route("/log-in", get(login::form).post(login::log_in))
            .route("/log-out", post(login::log_out))
            .with_state(app),
    };
    list.route("/", get(async || Redirect::to("/customers")))
        .route("/robots.txt", get(async || "User-agent: *\nDisallow: /\n"))
        .route(Stylesheet::ROUTE, get(async |version| STYLE.serve(version)))
        .merge(health)
        .fallback(async || {
            pages::failure(StatusCode::NOT_FOUND, "There is nothing here", "Check the address.")
        })
        .method_not_allowed_fallback(async || {
            let detail = "The list of customers is at /customers.";
            pages::failure(StatusCode::METHOD_NOT_ALLOWED, "That cannot be done here", detail)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(map_response(async |mut response: Response| {
            let name = HeaderName::from_static("x-robots-tag");
            response.headers_mut().insert(name, HeaderValue::from_static("noindex, nofollow"));
            response
        }))
}

async fn customers(_: LoggedIn, State(app): State<App>, query: QueryResult) -> Response {
    let Query(query) = query.unwrap_or_default();
    match page(&app.list, &query).await {
        Ok((start, page)) => {
            let last_arrival = match app.list.last_arrival().await {
                Ok(last_arrival) => last_arrival,
                Err(error) => return unavailable(&error),
            };
            pages::list(&query, &start, &page, app.totals.newest().await, last_arrival)
        }
        Err(error) => unavailable(&error),
    }
}

/// Whoever goes up and gets to the top is shown the newest page, and a full one.
async fn page(list: &List, query: &ListQuery) -> Result<(Start, Page), Unavailable> {
    let start = query.start();
    let page = list.page(query.search(), &start, ROWS).await?;
    if matches!(start, Start::Above(_)) && !page.more {
        return Ok((Start::Newest, list.page(query.search(), &Start::Newest, ROWS).await?));
    }
    Ok((start, page))
}

fn unavailable(error: &Unavailable) -> Response {
    tracing::warn!("could not show the customers: {error}");
    let detail = "The database does not answer. New customers wait in their queue meanwhile. \
                  Try again in a few seconds.";
    let page = pages::failure(StatusCode::SERVICE_UNAVAILABLE, "The list is away right now", detail);
    ([(header::RETRY_AFTER, "5")], page).into_response()
}
