//! The page of an operation.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use chrono::Utc;
use dead_letters::journal::Action;
use uuid::Uuid;

use super::{
    letters::{Effect, LetterRow, effects},
    render,
};
use crate::page::{
    format::{count, time},
    operations::{OperationState, Status},
    records::{Record, RecordedOperation},
    user::{Role, User},
};

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

pub(in crate::page) fn operation(user: &User, id: Uuid, status: &Status) -> Response {
    let letters = |number: u64| count(number, "letter");
    let title = match (&status.state, status.action) {
        (OperationState::Running, _) => format!("Moving {}", letters(status.letters)),
        (OperationState::Finished { moved, .. }, Action::Retry) => format!("{} sent back", letters(*moved)),
        (OperationState::Finished { moved, .. }, Action::Discard) => format!("{} discarded", letters(*moved)),
        (OperationState::Finished { .. }, Action::Edit) => "The edited letter is sent".to_owned(),
        (OperationState::Finished { moved, .. }, Action::Restore) => format!("{} restored", letters(*moved)),
        (OperationState::Finished { moved, .. }, Action::Erase) => format!("{} erased", letters(*moved)),
        (OperationState::Cancelled, _) => "The operation was cancelled".to_owned(),
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
                Action::Erase => "They are removed for good.",
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

/// The letters of an unfinished operation that have not moved.
pub(in crate::page) struct Remainder {
    /// The first of them.
    pub(in crate::page) rows: Vec<LetterRow>,
    /// The number of all of them.
    pub(in crate::page) total: usize,
}

impl Remainder {
    fn count(&self) -> String {
        count(self.total as u64, "letter")
    }
}

#[derive(Template)]
#[template(path = "unfinished.html")]
struct UnfinishedPage<'a> {
    user: &'a User,
    record: &'a Record,
    operation: RecordedOperation,
    started: String,
    /// The reason of the interruption, if this process executed it.
    cause: Option<String>,
    remainder: Result<Remainder, String>,
}

impl UnfinishedPage<'_> {
    fn may_change(&self) -> bool {
        self.user.role == Role::Operator
    }

    fn title(&self) -> String {
        let letters = count(self.operation.letters, "letter");
        let action = match self.operation.action {
            Action::Retry => "The retry",
            Action::Edit => "The edit",
            Action::Discard => "The discard",
            Action::Restore => "The restoration",
            Action::Erase => "The erasure",
        };
        format!("{action} of {letters} is unfinished")
    }

    /// Returns the number of letters that have moved, in words.
    fn moved(&self, remainder: &Remainder) -> String {
        count(self.operation.letters.saturating_sub(remainder.total as u64), "letter")
    }

    /// Returns the effect of a continuation on the remaining letters.
    fn effects(&self, remainder: &Remainder) -> Vec<Effect> {
        let move_to =
            |text: &str| vec![Effect { text: text.to_owned(), letters: remainder.count(), passes: true }];
        match self.operation.action {
            _ if remainder.total == 0 => Vec::new(),
            Action::Retry | Action::Edit => effects(&remainder.rows),
            Action::Discard => move_to("Kept aside, and can be restored"),
            Action::Restore => move_to("Dead letters again"),
            Action::Erase => move_to("Removed for good"),
        }
    }
}

pub(in crate::page) fn unfinished(
    user: &User,
    record: &Record,
    operation: RecordedOperation,
    cause: Option<String>,
    remainder: Result<Remainder, String>,
) -> Response {
    let started = time(record.at, Utc::now());
    render(StatusCode::OK, &UnfinishedPage { user, record, operation, started, cause, remainder })
}
