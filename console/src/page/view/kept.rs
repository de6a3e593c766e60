//! The pages of kept letters.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use dead_letters::journal::Action;
use uuid::Uuid;

use super::{
    letters::{LetterRow, ids},
    render,
};
use crate::page::{
    format::{count, time},
    records::Record,
    user::{Role, User},
};

/// The letters that one operation keeps.
pub(in crate::page) struct KeptGroup {
    /// The nil id if the journal cannot have the operation.
    operation: Uuid,
    letters: u64,
    queues: Vec<String>,
    /// The action in words, or an explanation if the journal does not show the operation.
    what: &'static str,
    operator: String,
    when: String,
    why: String,
}

impl KeptGroup {
    pub(in crate::page) fn new(
        operation: Uuid,
        letters: u64,
        queues: Vec<String>,
        record: Option<&Record>,
        now: DateTime<Utc>,
    ) -> Self {
        let action = record.and_then(|record| record.operation).map(|operation| operation.action);
        let what = match action {
            Some(Action::Edit) => "edited",
            Some(_) => "discarded",
            None => "not in the journal",
        };
        let text = |value: Option<String>| value.unwrap_or_default();
        Self {
            operation,
            letters,
            queues,
            what,
            operator: text(record.map(|record| record.operator.clone())),
            when: text(record.map(|record| time(record.at, now))),
            why: text(record.and_then(|record| record.why.clone())),
        }
    }

    fn title(&self) -> String {
        count(self.letters, "kept letter")
    }

    fn count(&self) -> String {
        count(self.letters, "letter")
    }
}

#[derive(Template)]
#[template(path = "kept_list.html")]
struct KeptList<'a> {
    user: &'a User,
    title: String,
    groups: Vec<KeptGroup>,
}

pub(in crate::page) fn kept_list(user: &User, groups: Vec<KeptGroup>) -> Response {
    let letters = groups.iter().map(|group| group.letters).sum();
    let title = if letters == 0 { "No kept letters".to_owned() } else { count(letters, "kept letter") };
    render(StatusCode::OK, &KeptList { user, title, groups })
}

/// The letters of one operation with the dry run of their return.
#[derive(Template)]
#[template(path = "kept.html")]
pub(in crate::page) struct KeptPage<'a> {
    pub(in crate::page) user: &'a User,
    pub(in crate::page) kept: KeptGroup,
    /// The queue of each listed letter, with the number of letters.
    pub(in crate::page) queues: Vec<(String, u64)>,
    pub(in crate::page) rows: Vec<LetterRow>,
    /// The number of all letters. The page lists the first ones.
    pub(in crate::page) total: usize,
}

impl KeptPage<'_> {
    fn may_change(&self) -> bool {
        self.user.role == Role::Operator
    }

    fn is_partial(&self) -> bool {
        self.rows.len() < self.total
    }

    /// Returns the ids of the listed letters, and their number in words.
    fn restore(&self) -> (String, String) {
        (ids(self.rows.iter()), count(self.rows.len() as u64, "letter"))
    }

    /// Returns each destination with its number of letters in words.
    fn destinations(&self) -> Vec<(String, String)> {
        let destination = |(queue, letters): &(String, u64)| (queue.clone(), count(*letters, "letter"));
        self.queues.iter().map(destination).collect()
    }

    /// Returns the numbers of letters that today's code would process and reject, in words.
    fn today(&self) -> String {
        let passing = self.rows.iter().filter(|row| row.passes).count();
        let failing = self.rows.len() - passing;
        match (passing, failing) {
            (_, 0) => "With today’s code, a retry would then succeed.".to_owned(),
            (0, _) => "With today’s code, a retry would fail again.".to_owned(),
            _ => format!(
                "With today’s code, a retry would then succeed for {passing} of them and fail for {failing}."
            ),
        }
    }
}

pub(in crate::page) fn kept(page: &KeptPage<'_>) -> Response {
    render(StatusCode::OK, page)
}
