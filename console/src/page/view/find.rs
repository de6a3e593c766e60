//! The page of the search for one customer.

use askama::Template;
use axum::{http::StatusCode, response::Response};

use super::{group_url, render};
use crate::{
    find::{CustomerLetter, CustomerReport, Report, timeline},
    page::user::User,
};

#[derive(Template)]
#[template(path = "find.html")]
struct FindPage<'a> {
    user: &'a User,
    problem: Option<&'a str>,
    found: Option<Found<'a>>,
}

/// The masked result of a search.
struct Found<'a> {
    report: &'a Report,
    customers: Vec<Customer<'a>>,
    /// Letters with the message of the search that name no customer.
    letters: Vec<LetterLink>,
}

struct Customer<'a> {
    report: &'a CustomerReport,
    state: String,
    tone: &'static str,
    place: &'a str,
    next: Option<&'a str>,
    lines: Vec<(String, String)>,
    letters: Vec<LetterLink>,
}

/// A link to the page on which an operator can act on a letter.
struct LetterLink {
    url: String,
    text: String,
}

impl LetterLink {
    fn new(letter: &CustomerLetter) -> Self {
        let facts = &letter.letter;
        let id = facts.id.short();
        if let Some(operation) = letter.kept_by {
            Self { url: format!("/kept?operation={operation}"), text: format!("Restore {id}") }
        } else {
            let text = format!("Act on {id} in {}", facts.queue);
            Self { url: group_url(&facts.queue, &facts.reason), text }
        }
    }
}

impl<'a> Customer<'a> {
    fn new(report: &'a CustomerReport) -> Self {
        let (place, next) = report.place_and_next();
        let state = report.state_name();
        let tone = match state.as_str() {
            _ if report.needs_person => "bad",
            "arrived" => "yes",
            _ => "no",
        };
        Self {
            report,
            state: state.replace('-', " "),
            tone,
            place,
            next,
            lines: timeline(report),
            letters: report.dead_letters.iter().chain(&report.kept_letters).map(LetterLink::new).collect(),
        }
    }
}

/// Shows the form, with a problem of the last search.
pub(in crate::page) fn find(user: &User, status: StatusCode, problem: Option<&str>) -> Response {
    render(status, &FindPage { user, problem, found: None })
}

/// Shows the result of a search.
pub(in crate::page) fn found(user: &User, report: &Report) -> Response {
    let customers: Vec<_> =
        report.customers.iter().filter(|customer| !customer.is_absent()).map(Customer::new).collect();
    let letters: Vec<_> = report.letters.iter().map(LetterLink::new).collect();
    let is_found = !customers.is_empty() || !letters.is_empty();
    let status = match report.unreadable.is_empty() {
        true if !is_found => StatusCode::NOT_FOUND,
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    render(status, &FindPage { user, problem: None, found: Some(Found { report, customers, letters }) })
}
