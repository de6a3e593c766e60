//! The pages. Every value reaches HTML through the templates, which escape it.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use chrono::NaiveDateTime;
use service_kit::Stylesheet;

use super::query::ListQuery;
use crate::{
    list::{Page, Row, Start},
    totals::Counted,
};

pub(crate) const STYLE: Stylesheet = Stylesheet::new(include_str!("../../assets/style.css"));

#[derive(Template)]
#[template(path = "list.html")]
struct List<'a> {
    search: &'a str,
    rows: &'a [Row],
    totals: Option<Counted>,
    last_arrival: Option<NaiveDateTime>,
    newest: Option<String>,
    newer: Option<String>,
    older: Option<String>,
    export: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    problem: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'a> {
    title: &'a str,
    detail: &'a str,
}

#[derive(Template)]
#[template(path = "off.html")]
struct Off;

pub(super) fn list(
    query: &ListQuery,
    start: &Start,
    page: &Page,
    totals: Option<Counted>,
    last_arrival: Option<NaiveDateTime>,
) -> Response {
    let list = List {
        search: query.search(),
        rows: &page.rows,
        totals,
        last_arrival,
        newest: Some(query.newest()).filter(|_| *start != Start::Newest),
        newer: query.newer(start, page),
        older: query.older(start, page),
        export: query.export(),
    };
    show(StatusCode::OK, &list)
}

pub(super) fn login(status: StatusCode, problem: Option<&str>) -> Response {
    show(status, &Login { problem })
}

pub(super) fn failure(status: StatusCode, title: &str, detail: &str) -> Response {
    show(status, &Failure { title, detail })
}

/// The list without a password to protect it.
pub(super) fn off() -> Response {
    show(StatusCode::FORBIDDEN, &Off)
}

fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!("cannot render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 1234567 as 1 234 567, with narrow spaces that do not break.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn a_number_is_grouped_by_thousands() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
