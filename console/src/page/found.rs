//! Reading letters for a page, with the effect of each one by today's code.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use axum::{http::StatusCode, response::Response};
use chrono::Utc;
use dead_letters::{
    inventory::{FoundLetter, Place},
    letter::{Letter, LetterId},
    prediction::{Prediction, predict},
};
use messaging::Incoming;
use readers::marketing::Marketing;
use tokio::time::timeout;

use super::{
    App,
    view::{self, LetterRow},
};

/// The letters on one page. An operation that the page starts applies to the listed letters only.
pub(super) const MAX_LISTED: usize = 1000;

/// The time limit of reading letters. It is shorter than the time limit of a request.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Letters with their messages.
#[derive(Debug, Default)]
pub(super) struct FoundLetters {
    /// The first of the letters.
    pub(super) letters: Vec<FoundLetter>,
    /// The number of all of them.
    pub(super) total: usize,
}

/// Returns the selected letters of some places.
///
/// # Errors
/// Returns an error if a broker cannot be read in time. Another console may hold the letters.
pub(super) async fn read(
    places: &[Place<'_>],
    is_selected: impl Fn(&Place<'_>, &Letter, &Incoming) -> bool,
) -> anyhow::Result<FoundLetters> {
    let mut found = FoundLetters::default();
    let read = async {
        for place in places {
            place
                .visit(|letter, message| {
                    if !is_selected(place, &letter, message) {
                        return;
                    }
                    found.total += 1;
                    if found.letters.len() < MAX_LISTED {
                        found.letters.push(FoundLetter::of(place, letter, message));
                    }
                })
                .await?;
        }
        anyhow::Ok(())
    };
    timeout(READ_TIMEOUT, read).await.context("another console may be reading them")??;
    Ok(found)
}

/// Returns the masked prediction of each letter. Without Marketing's database, predictions do not compare rows.
pub(super) async fn predictions(app: &App, letters: &[FoundLetter]) -> Vec<Prediction> {
    let connect = Marketing::connect(&app.connections.marketing_database_url);
    let mut marketing = timeout(Duration::from_secs(1), connect).await.ok().and_then(Result::ok);
    let predicted = match predict(marketing.as_mut(), letters).await {
        Ok(predictions) => Ok(predictions),
        Err(_) => predict(None, letters).await,
    };
    let mut predictions = predicted.unwrap_or_default();
    predictions.iter_mut().for_each(Prediction::mask);
    predictions
}

/// Returns a row with the prediction for each letter.
pub(super) async fn rows(app: &App, letters: &[FoundLetter]) -> Vec<LetterRow> {
    let predictions = predictions(app, letters).await;
    let now = Utc::now();
    let rows = letters.iter().zip(&predictions);
    rows.map(|(found, prediction)| LetterRow::new(found, prediction, now)).collect()
}

/// Returns the letters with their places, as an operation needs them.
pub(super) fn with_places(found: Vec<FoundLetter>) -> Vec<(String, Letter)> {
    found.into_iter().map(|found| (found.place, found.letter)).collect()
}

/// Returns the ids in a form: those of the letters that its page has listed. Returns `None` if they are malformed.
pub(super) fn parse_ids(text: &str) -> Option<BTreeSet<LetterId>> {
    text.split(',').map(str::parse).collect::<Result<_, _>>().ok()
}

/// Responds that a form contains no valid list of letters.
pub(super) fn not_listed() -> Response {
    let detail = "The page has sent no valid list of letters. Open it again.";
    view::failure(StatusCode::UNPROCESSABLE_ENTITY, "No letters are selected", detail)
}

/// Responds that letters cannot be read.
pub(super) fn unreadable(error: &anyhow::Error) -> Response {
    let detail = format!("Try again in a few seconds. The cause: {error:#}.");
    view::failure(StatusCode::SERVICE_UNAVAILABLE, "The letters cannot be read right now", &detail)
}

/// Responds that none of the letters is where it was.
pub(super) fn moved() -> Response {
    let detail = "Another operator has moved them, or they were retried. Nothing was changed.";
    view::failure(StatusCode::CONFLICT, "These letters are not there any more", detail)
}
