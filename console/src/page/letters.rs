//! The pages of dead letters: a group with its dry run, and the operations on exactly the listed letters.

use std::collections::BTreeSet;

use anyhow::Context;
use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use dead_letters::{
    inventory,
    journal::{Action, Event, Journal},
    letter::LetterId,
};
use readers::connections::work_queues;
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    App,
    access::Change,
    found::{self, FoundLetters, READ_TIMEOUT, moved, not_listed, predictions, unreadable},
    operations::Order,
    user::User,
    view::{self, EditPage, GroupPage},
};
use crate::dead_letters::edit::{compact, readable};

/// A group of letters.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Group {
    pub(super) queue: String,
    pub(super) reason: String,
}

/// The letters that the page has listed.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    group: Group,
    /// The ids, separated by commas.
    letters: String,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Edit {
    #[serde(flatten)]
    group: Group,
    letter: String,
    step: EditStep,
    #[serde(default)]
    body: String,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EditStep {
    /// Shows the body.
    Open,
    /// Checks the edited body.
    Check,
    /// Sends the edited body.
    Send,
}

impl Group {
    /// Returns the first letters of the group, or those with the given ids.
    async fn read(&self, app: &App, ids: Option<&BTreeSet<LetterId>>) -> anyhow::Result<FoundLetters> {
        let mut places = inventory::dead_letters(&app.connections.brokers);
        places.retain(|place| place.queues.iter().any(|queue| queue.name == self.queue));
        found::read(&places, |_, letter, _| {
            letter.reason == self.reason && ids.is_none_or(|ids| ids.contains(&letter.id))
        })
        .await
    }
}

/// Shows a group with the dry run of each letter.
pub(super) async fn group(user: User, State(app): State<App>, Query(group): Query<Group>) -> Response {
    if !work_queues().any(|queue| queue.name == group.queue) {
        return view::failure(StatusCode::NOT_FOUND, "There is no such queue", "Go back to the picture.");
    }
    let found = match group.read(&app, None).await {
        Ok(found) => found,
        Err(error) => return unreadable(&error),
    };
    let rows = found::rows(&app, &found.letters).await;
    view::group(&GroupPage { user: &user, group: &group, rows, total: found.total })
}

pub(super) async fn retry(change: Change, State(app): State<App>, Form(listed): Form<Listed>) -> Response {
    start(change, &app, Action::Retry, listed).await
}

pub(super) async fn discard(change: Change, State(app): State<App>, Form(listed): Form<Listed>) -> Response {
    if listed.why.trim().is_empty() {
        let detail = "The journal needs a reason for discarded letters. Go back and enter it.";
        return view::failure(StatusCode::UNPROCESSABLE_ENTITY, "The reason is missing", detail);
    }
    start(change, &app, Action::Discard, listed).await
}

/// Starts an operation on those listed letters that are still there.
async fn start(Change(user): Change, app: &App, action: Action, listed: Listed) -> Response {
    let Listed { group, letters, why } = listed;
    let Some(ids) = found::parse_ids(&letters) else { return not_listed() };
    let found = match group.read(app, Some(&ids)).await {
        Ok(found) => found.letters,
        Err(error) => return unreadable(&error),
    };
    if found.is_empty() {
        return moved();
    }
    let letters = found::with_places(found);
    let Group { queue, reason } = &group;
    let selection = format!("{} listed on the page, --queue {queue} --reason {reason}", ids.len());
    let order = Order { action, letters, selection, why: text(&why), body: None };
    app.operations.start(user, order).await
}

/// Shows a letter with its personal data, checks its edited body, or sends it.
pub(super) async fn edit(change: Change, State(app): State<App>, Form(form): Form<Edit>) -> Response {
    let Change(user) = change;
    let Edit { group, letter, step, body, why } = form;
    let ids = letter.parse::<LetterId>().map(|id| BTreeSet::from([id])).unwrap_or_default();
    let found = match group.read(&app, Some(&ids)).await {
        Ok(found) => found.letters,
        Err(error) => return unreadable(&error),
    };
    let Some(found) = found.into_iter().next() else { return moved() };
    let page = |body, check| EditPage {
        user: &user,
        group: &group,
        id: letter.clone(),
        body,
        check,
        why: why.clone(),
    };
    if step == EditStep::Open {
        if let Err(error) = note_unmasked(&app, &user, &letter).await {
            let detail = format!("The journal must note that you see personal data. The cause: {error:#}.");
            return view::failure(StatusCode::SERVICE_UNAVAILABLE, "The letter cannot be shown", &detail);
        }
        let original = found.message.body();
        let text = readable(original).unwrap_or_else(|| String::from_utf8_lossy(original).into_owned());
        return view::edit(&page(text, None));
    }
    let edited = compact(body.as_bytes());
    let edited_letter = found.with_body(&edited);
    let prediction = predictions(&app, &[edited_letter]).await.into_iter().next();
    let Some(prediction) = prediction else { return moved() };
    if step == EditStep::Check || !prediction.passes() {
        return view::edit(&page(body, Some(prediction)));
    }
    let Group { queue, reason } = &group;
    let selection = format!("{letter}, --queue {queue} --reason {reason}");
    let letters = vec![(found.place, found.letter)];
    let order = Order { action: Action::Edit, letters, selection, why: text(&why), body: Some(edited) };
    app.operations.start(user, order).await
}

async fn note_unmasked(app: &App, user: &User, letter: &str) -> anyhow::Result<()> {
    let note = async {
        let mut journal = Journal::open(app.connections.brokers.source(), &user.name).await?;
        let event = Event::Unmasked { selection: letter.to_owned(), letters: 1 };
        journal.append(Uuid::now_v7(), event).await
    };
    timeout(READ_TIMEOUT / 2, note).await.context("the journal does not respond")?
}

/// Returns a text unless it is empty.
pub(super) fn text(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}
