//! Marketing's HTTP: the list of customers, for the operator only.

mod export;
mod login;
mod pages;
mod query;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use service_kit::{FailureLog, Login, Stylesheet};

use crate::{
    count_cache::CountCache,
    list::{CustomerList, Page, PageStart},
    mysql::MysqlError,
};
use login::LoggedIn;
use query::QueryResult;

pub(crate) use pages::STYLE;
pub use query::ListQuery;

/// Size of a form with a password.
const MAX_BODY_BYTES: usize = 4 * 1024;

const ROWS_PER_PAGE: usize = 50;

static LIST_READS: FailureLog = FailureLog::new("reading the list of customers");

/// State of the handlers.
#[derive(Clone)]
pub(crate) struct App {
    list: CustomerList,
    counts: Arc<CountCache>,
    login: Arc<Login>,
}

impl App {
    /// Returns the state for operators who use this log-in.
    pub(crate) fn new(list: CustomerList, login: Login) -> Self {
        Self { counts: Arc::new(CountCache::new(list.clone())), list, login: Arc::new(login) }
    }
}

/// Returns all routes of Marketing. Without an app, the list is off.
pub(crate) fn router(app: Option<App>, health: Router) -> Router {
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
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(async |mut response: Response| {
            let name = HeaderName::from_static("x-robots-tag");
            response.headers_mut().insert(name, HeaderValue::from_static("noindex, nofollow"));
            response
        }))
}

async fn customers(_: LoggedIn, State(app): State<App>, query: QueryResult) -> Result<Response, MysqlError> {
    let Query(query) = query.unwrap_or_default();
    let (start, page) = page(&app.list, &query).await?;
    let last_arrival = app.list.last_arrival().await?;
    LIST_READS.succeeded();
    Ok(pages::list(&query, &start, &page, app.counts.latest().await, last_arrival))
}

/// Returns the requested page. A page of newer rows that reaches the newest row becomes the full first page.
async fn page(list: &CustomerList, query: &ListQuery) -> Result<(PageStart, Page), MysqlError> {
    let start = query.start();
    let page = list.page(query.search(), &start, ROWS_PER_PAGE).await?;
    if matches!(start, PageStart::Before(_)) && !page.more {
        let first = PageStart::First;
        let page = list.page(query.search(), &first, ROWS_PER_PAGE).await?;
        return Ok((first, page));
    }
    Ok((start, page))
}

impl IntoResponse for MysqlError {
    fn into_response(self) -> Response {
        LIST_READS.failed(&self);
        let detail = "The database does not respond. New customers wait in their queue. \
                      Try again in a few seconds.";
        let title = "The list is unavailable right now";
        let page = pages::failure(StatusCode::SERVICE_UNAVAILABLE, title, detail);
        ([(header::RETRY_AFTER, "5")], page).into_response()
    }
}
