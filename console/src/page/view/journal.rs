//! The page of the journal.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use chrono::{DateTime, Utc};

use super::render;
use crate::page::{
    format::{count, time},
    records::{Outcome, Record, RecordPage, Verification},
    user::User,
};

#[derive(Template)]
#[template(path = "journal.html")]
struct JournalPage<'a> {
    user: &'a User,
    page: &'a RecordPage<'a>,
    verification: Verification<'a>,
    now: DateTime<Utc>,
}

impl JournalPage<'_> {
    fn entries(&self) -> String {
        match self.verification.entries {
            1 => "1\u{a0}entry".to_owned(),
            entries => format!("{}\u{a0}entries", service_kit::thousands(entries as u64)),
        }
    }

    fn when(&self, record: &Record) -> String {
        time(record.at, self.now)
    }
}

/// Returns the outcome in words, and whether it is final.
fn outcome(record: &Record) -> Option<(String, bool)> {
    Some(match record.operation?.outcome {
        Outcome::Unfinished => ("unfinished".to_owned(), false),
        Outcome::Cancelled => ("cancelled".to_owned(), true),
        Outcome::Finished { moved, absent: 0 } => (format!("moved {}", count(moved, "letter")), true),
        Outcome::Finished { moved, absent } => {
            (format!("moved {moved} of {}", count(moved + absent, "letter")), true)
        }
    })
}

pub(in crate::page) fn journal(
    user: &User,
    page: &RecordPage<'_>,
    verification: Verification<'_>,
) -> Response {
    render(StatusCode::OK, &JournalPage { user, page, verification, now: Utc::now() })
}
