//! The pages as HTML. All values pass through the templates, which escape them.

mod parts;

use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use service_kit::{BASE_STYLE, Stylesheet};
use uuid::Uuid;

use super::{
    access::{Role, User},
    facts::Facts,
    format::{count, time},
    letters::Group,
    operations::{OperationState, Status},
};
use crate::{
    dead_letters::{
        output::Shown,
        prediction::{Change, Prediction, Verdict},
    },
    inventory::FoundLetter,
    journal::Action,
};
use parts::Parts;

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
        let parts = "<p>The servers are being read for the first time. Reload this page in a second.</p>";
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

/// A group of dead letters with its dry run.
#[derive(Template)]
#[template(path = "group.html")]
pub(super) struct GroupPage<'a> {
    pub(super) user: &'a User,
    pub(super) group: &'a Group,
    pub(super) rows: Vec<LetterRow>,
    /// The number of all letters of the group. The page lists the first ones.
    pub(super) total: usize,
}

/// A letter with the effect of its message.
pub(super) struct LetterRow {
    id: String,
    short: String,
    rejected: String,
    rejected_by: String,
    passes: bool,
    effect: String,
    explanation: Option<String>,
    /// The masked message as JSON.
    message: String,
}

impl LetterRow {
    pub(super) fn new(found: &FoundLetter, prediction: &Prediction, now: DateTime<Utc>) -> Self {
        let letter = &found.letter;
        let explanation = match &prediction.verdict {
            Verdict::Passes => None,
            Verdict::Fails { explanation, .. } => Some(explanation.clone()),
        };
        Self {
            id: letter.id.to_string(),
            short: letter.id.short(),
            rejected: letter.rejected_at.map_or_else(|| "at an unknown time".to_owned(), |at| time(at, now)),
            rejected_by: letter.rejected_by.clone().unwrap_or_default(),
            passes: prediction.passes(),
            effect: effect(prediction),
            explanation,
            message: serde_json::to_string_pretty(&Shown::new(found, false)).unwrap_or_default(),
        }
    }
}

impl GroupPage<'_> {
    fn may_change(&self) -> bool {
        self.user.role == Role::Operator
    }

    fn title(&self) -> String {
        count(self.total as u64, "dead letter")
    }

    /// Returns whether the page lists only a part of the group.
    fn is_partial(&self) -> bool {
        self.rows.len() < self.total
    }

    fn passing(&self) -> impl Iterator<Item = &LetterRow> {
        self.rows.iter().filter(|row| row.passes)
    }

    /// Returns the ids of the letters that pass, and their number in words.
    fn retry(&self) -> Option<(String, String)> {
        let letters = self.passing().count() as u64;
        (letters > 0).then(|| (ids(self.passing()), count(letters, "letter")))
    }

    /// Returns the ids of all listed letters, and their number in words.
    fn discard(&self) -> (String, String) {
        (ids(self.rows.iter()), count(self.rows.len() as u64, "letter"))
    }

    fn do_all_pass(&self) -> bool {
        self.rows.iter().all(|row| row.passes)
    }

    /// Returns each effect with its number of letters.
    fn effects(&self) -> Vec<(String, String, bool)> {
        let mut effects: Vec<(&str, u64, bool)> = Vec::new();
        for row in &self.rows {
            match effects.iter_mut().find(|(effect, ..)| *effect == row.effect) {
                Some((_, letters, _)) => *letters += 1,
                None => effects.push((&row.effect, 1, row.passes)),
            }
        }
        effects
            .into_iter()
            .map(|(effect, letters, passes)| (effect.to_owned(), count(letters, "letter"), passes))
            .collect()
    }
}

fn ids<'a>(rows: impl Iterator<Item = &'a LetterRow>) -> String {
    rows.map(|row| row.id.as_str()).collect::<Vec<_>>().join(",")
}

/// Returns the effect of a message in a few words.
fn effect(prediction: &Prediction) -> String {
    match (&prediction.verdict, &prediction.change) {
        (Verdict::Fails { code, at, .. }, _) => format!("Fails again at {at}: {code}"),
        (Verdict::Passes, Some(Change::Insert)) => "Inserts a row".to_owned(),
        (Verdict::Passes, Some(Change::Update { columns, .. })) => {
            format!("Updates the row: {}", columns.join(", "))
        }
        (Verdict::Passes, Some(Change::Nothing { .. })) => {
            "Changes nothing: the row has this version or a higher one".to_owned()
        }
        (Verdict::Passes, None) => "Passes".to_owned(),
    }
}

pub(super) fn group(page: &GroupPage<'_>) -> Response {
    render(StatusCode::OK, page)
}

/// A letter that an operator edits.
#[derive(Template)]
#[template(path = "edit.html")]
pub(super) struct EditPage<'a> {
    pub(super) user: &'a User,
    pub(super) group: &'a Group,
    pub(super) id: String,
    pub(super) body: String,
    /// The prediction of the edited body, after a check.
    pub(super) check: Option<Prediction>,
    pub(super) why: String,
}

impl EditPage<'_> {
    fn back(&self) -> String {
        group_url(&self.group.queue, &self.group.reason)
    }

    /// Returns the result of the check: whether the body passes, the effect, and the explanation of a failure.
    fn result(&self) -> Option<(bool, String, String)> {
        let prediction = self.check.as_ref()?;
        let explanation = match &prediction.verdict {
            Verdict::Passes => String::new(),
            Verdict::Fails { explanation, .. } => explanation.clone(),
        };
        Some((prediction.passes(), effect(prediction), explanation))
    }
}

pub(super) fn edit(page: &EditPage<'_>) -> Response {
    let has_failed = page.check.as_ref().is_some_and(|prediction| !prediction.passes());
    let status = if has_failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    render(status, page)
}

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage<'a> {
    user: &'a User,
    id: Uuid,
    status: &'a Status,
    title: String,
    explanation: String,
    is_running: bool,
}

pub(super) fn operation(user: &User, id: Uuid, status: &Status) -> Response {
    let letters = |number: u64| count(number, "letter");
    let title = match (&status.state, status.action) {
        (OperationState::Running, _) => format!("Moving {}", letters(status.letters)),
        (OperationState::Finished { moved, .. }, Action::Retry) => format!("{} sent back", letters(*moved)),
        (OperationState::Finished { moved, .. }, Action::Discard) => format!("{} discarded", letters(*moved)),
        (OperationState::Finished { .. }, Action::Edit) => "The edited letter is sent".to_owned(),
        (OperationState::Finished { moved, .. }, Action::Restore) => format!("{} restored", letters(*moved)),
        (OperationState::Cancelled, _) => "Another operator cancelled the operation".to_owned(),
        (OperationState::Interrupted(_), _) => "The operation is interrupted".to_owned(),
    };
    let explanation = match (&status.state, status.action) {
        (OperationState::Finished { absent, .. }, action) => {
            let effect = match action {
                Action::Retry | Action::Edit => {
                    "Today’s code processes them now. A message that fails again comes back as a dead letter."
                }
                Action::Discard => "They are kept aside, and can be restored.",
                Action::Restore => "They are dead letters again.",
            };
            let absent = (*absent > 0).then(|| format!(" {} had been moved before.", letters(*absent)));
            format!("{effect}{}", absent.unwrap_or_default())
        }
        (OperationState::Running, _) => "The operation continues if you leave this page.".to_owned(),
        (OperationState::Cancelled, _) => "Letters that have not moved stay.".to_owned(),
        (OperationState::Interrupted(cause), _) => {
            format!("Letters that have not moved stay. The cause: {cause}.")
        }
    };
    let is_running = matches!(status.state, OperationState::Running);
    render(StatusCode::OK, &OperationPage { user, id, status, title, explanation, is_running })
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
    let detail = "The request came from another site. Open this page yourself and try again.";
    failure(StatusCode::FORBIDDEN, "That was refused", detail)
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
