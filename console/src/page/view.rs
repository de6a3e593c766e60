//! The pages as HTML. All values pass through the templates, which escape them.

mod find;
mod journal;
mod kept;
mod letters;
mod operation;
mod parts;
mod subscriptions;

use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use service_kit::{BASE_STYLE, LoginRefusal, Stylesheet};

use super::{facts::Facts, runbook::Runbook, user::User};
use parts::Parts;

pub(super) use find::{find, found};
pub(super) use journal::journal;
pub(super) use kept::{KeptGroup, KeptPage, kept, kept_list};
pub(super) use letters::{EditPage, GroupPage, LetterRow, edit, group};
pub(super) use operation::{Remainder, operation, unfinished};
pub(super) use subscriptions::subscriptions;

pub(super) const STYLE: Stylesheet = Stylesheet::new(&[BASE_STYLE, include_str!("../../assets/style.css")]);

pub(super) const SCRIPT_ROUTE: &str = "/live.js";

const SCRIPT: &str = include_str!("../../assets/live.js");

/// The picture at one time.
pub(super) struct Frame {
    /// `None` before the first reading.
    pub(super) facts: Option<Facts>,
    title: String,
    /// The parts of the picture as HTML.
    pub(super) parts: String,
}

impl Frame {
    /// Returns the picture before the first reading.
    pub(super) fn empty() -> Self {
        let parts =
            "<p>The servers are being read for the first time. The picture appears within a few seconds.</p>";
        Self { facts: None, title: "Starting".to_owned(), parts: parts.to_owned() }
    }

    pub(super) fn new(facts: Facts) -> Self {
        let parts = Parts::new(&facts);
        let html = parts.render().unwrap_or_else(|error| {
            tracing::error!("cannot render the picture: {error}");
            String::new()
        });
        Self { title: parts.title(), parts: html, facts: Some(facts) }
    }
}

#[derive(Template)]
#[template(path = "picture.html")]
struct PicturePage<'a> {
    user: &'a User,
    title: &'a str,
    parts: &'a str,
}

pub(super) fn picture(user: &User, frame: &Frame) -> Response {
    render(StatusCode::OK, &PicturePage { user, title: &frame.title, parts: &frame.parts })
}

/// Returns the address of the page of a group.
fn group_url(queue: &str, reason: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("queue", queue).append_pair("reason", reason);
    format!("/dead-letters?{}", query.finish())
}

#[derive(Template)]
#[template(path = "runbook.html")]
struct RunbookPage<'a> {
    user: &'a User,
    runbook: &'a Runbook,
}

pub(super) fn runbook(user: &User, runbook: &Runbook) -> Response {
    render(StatusCode::OK, &RunbookPage { user, runbook })
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    name: &'a str,
    problem: Option<&'a str>,
}

pub(super) fn login(status: StatusCode, name: &str, problem: Option<&str>) -> Response {
    render(status, &LoginPage { name, problem })
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    title: &'a str,
    detail: &'a str,
}

pub(super) fn failure(status: StatusCode, title: &str, detail: &str) -> Response {
    render(status, &FailurePage { title, detail })
}

/// Responds to a change that another site requested.
pub(super) fn cross_site() -> Response {
    let refusal = LoginRefusal::CrossSite;
    failure(refusal.status(), "That was refused", refusal.explanation())
}

#[derive(Template)]
#[template(path = "off.html")]
struct OffPage;

/// Responds that the page is off, because nothing protects it.
pub(super) fn off() -> Response {
    render(StatusCode::FORBIDDEN, &OffPage)
}

pub(super) fn script() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, SCRIPT).into_response()
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
