//! The pages of dead letters: a group with its dry run, and a letter that an operator edits.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use dead_letters::{
    inventory::FoundLetter,
    prediction::{Change, Prediction, Verdict},
};

use super::{group_url, render};
use crate::{
    dead_letters::output::Shown,
    page::{
        format::{count, time},
        letters::Group,
        user::{Role, User},
    },
};

/// A group of dead letters with its dry run.
#[derive(Template)]
#[template(path = "group.html")]
pub(in crate::page) struct GroupPage<'a> {
    pub(in crate::page) user: &'a User,
    pub(in crate::page) group: &'a Group,
    pub(in crate::page) rows: Vec<LetterRow>,
    /// The number of all letters of the group. The page lists the first ones.
    pub(in crate::page) total: usize,
}

/// A letter with the effect of its message.
pub(in crate::page) struct LetterRow {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) rejected: String,
    pub(super) rejected_by: String,
    pub(super) passes: bool,
    pub(super) effect: String,
    pub(super) explanation: Option<String>,
    /// The masked message as JSON.
    pub(super) message: String,
}

impl LetterRow {
    pub(in crate::page) fn new(found: &FoundLetter, prediction: &Prediction, now: DateTime<Utc>) -> Self {
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

    fn effects(&self) -> Vec<Effect> {
        effects(&self.rows)
    }
}

/// Letters with the same effect.
pub(super) struct Effect {
    pub(super) text: String,
    /// The number of letters in words.
    pub(super) letters: String,
    pub(super) passes: bool,
}

/// Returns each effect with its number of letters.
pub(super) fn effects(rows: &[LetterRow]) -> Vec<Effect> {
    let mut effects: Vec<(&str, u64, bool)> = Vec::new();
    for row in rows {
        match effects.iter_mut().find(|(effect, ..)| *effect == row.effect) {
            Some((_, letters, _)) => *letters += 1,
            None => effects.push((&row.effect, 1, row.passes)),
        }
    }
    let effect = |(text, letters, passes): (&str, u64, bool)| Effect {
        text: text.to_owned(),
        letters: count(letters, "letter"),
        passes,
    };
    effects.into_iter().map(effect).collect()
}

/// Returns the ids of letters for a form.
pub(super) fn ids<'a>(rows: impl Iterator<Item = &'a LetterRow>) -> String {
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

pub(in crate::page) fn group(page: &GroupPage<'_>) -> Response {
    render(StatusCode::OK, page)
}

/// A letter that an operator edits.
#[derive(Template)]
#[template(path = "edit.html")]
pub(in crate::page) struct EditPage<'a> {
    pub(in crate::page) user: &'a User,
    pub(in crate::page) group: &'a Group,
    pub(in crate::page) id: String,
    pub(in crate::page) body: String,
    /// The prediction of the edited body, after a check.
    pub(in crate::page) check: Option<Prediction>,
    pub(in crate::page) why: String,
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

pub(in crate::page) fn edit(page: &EditPage<'_>) -> Response {
    let has_failed = page.check.as_ref().is_some_and(|prediction| !prediction.passes());
    let status = if has_failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    render(status, page)
}
