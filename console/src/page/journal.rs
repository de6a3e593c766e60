//! The page of the journal.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

use super::{App, facts::Reading, records::Records, user::User, view};

impl App {
    /// Returns the records of the journal, as the picture has read them last.
    pub(super) fn records(&self) -> Reading<Arc<Records>> {
        let frame = self.frames.borrow();
        let facts = frame.facts.as_ref();
        facts.map_or_else(
            || Err("It is being read for the first time".to_owned()),
            |facts| facts.journal.clone(),
        )
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Position {
    before: Option<usize>,
}

/// Shows what operators did, newest first.
pub(super) async fn show(user: User, State(app): State<App>, Query(position): Query<Position>) -> Response {
    match app.records() {
        Ok(records) => view::journal(&user, &records.page(position.before), records.verification()),
        Err(reason) => {
            let detail = format!("Try again in a few seconds. The cause: {reason}.");
            view::failure(StatusCode::SERVICE_UNAVAILABLE, "The journal cannot be read right now", &detail)
        }
    }
}
