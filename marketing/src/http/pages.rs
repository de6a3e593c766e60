//! The pages. All values pass through the templates, which escape them.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use chrono::NaiveDateTime;
use service_kit::{BASE_STYLE, Stylesheet, thousands};

use super::query::ListQuery;
use crate::{
    count_cache::CountSnapshot,
    list::{Page, PageStart, Row},
};

pub(crate) const STYLE: Stylesheet = Stylesheet::new(&[BASE_STYLE, include_str!("../../assets/style.css")]);

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage<'a> {
    search: &'a str,
    rows: &'a [Row],
    counted: Option<CountSnapshot>,
    last_arrival: Option<NaiveDateTime>,
    newest: Option<String>,
    newer: Option<String>,
    older: Option<String>,
    export: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    title: &'a str,
    detail: &'a str,
}

#[derive(Template)]
#[template(path = "off.html")]
struct OffPage;

pub(super) fn list(
    query: &ListQuery,
    start: &PageStart,
    page: &Page,
    counted: Option<CountSnapshot>,
    last_arrival: Option<NaiveDateTime>,
) -> Response {
    let list = ListPage {
        search: query.search(),
        rows: &page.rows,
        counted,
        last_arrival,
        newest: Some(query.newest()).filter(|_| *start != PageStart::First),
        newer: query.newer(start, page),
        older: query.older(start, page),
        export: query.export(),
    };
    render(StatusCode::OK, &list)
}

pub(super) fn login(status: StatusCode, problem: Option<&str>) -> Response {
    render(status, &LoginPage { problem })
}

pub(super) fn failure(status: StatusCode, title: &str, detail: &str) -> Response {
    render(status, &FailurePage { title, detail })
}

/// Responds that the list is off, because no password protects it.
pub(super) fn off() -> Response {
    render(StatusCode::FORBIDDEN, &OffPage)
}

fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!("cannot render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
