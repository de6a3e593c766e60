//! The pages of kept letters: those that operators have discarded or edited, and their return to the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use chrono::Utc;
use dead_letters::{
    inventory,
    journal::Action,
    letter::{KEPT_BY, LetterId},
};
use messaging::Incoming;
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    App,
    access::Change,
    found::{self, READ_TIMEOUT, moved, not_listed, unreadable},
    letters::text,
    operations::Order,
    user::User,
    view::{self, KeptGroup, KeptPage},
};

/// The letters that one operation keeps.
#[derive(Debug, Deserialize)]
pub(super) struct KeptBy {
    /// `None` for all operations.
    operation: Option<Uuid>,
}

/// The kept letters that the page has listed.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    operation: Uuid,
    /// The ids, separated by commas.
    letters: String,
    #[serde(default)]
    why: String,
}

/// Returns the operation that keeps a letter. A letter of another origin has the nil id.
fn kept_by(message: &Incoming) -> Uuid {
    message.header(KEPT_BY).and_then(|operation| operation.parse().ok()).unwrap_or_default()
}

/// Shows the operations that keep letters, or the letters of one operation with the dry run of their return.
pub(super) async fn show(user: User, State(app): State<App>, Query(query): Query<KeptBy>) -> Response {
    match query.operation {
        None => list(&user, &app).await,
        Some(operation) => group(&user, &app, operation).await,
    }
}

async fn list(user: &User, app: &App) -> Response {
    let mut letters: BTreeMap<Uuid, (u64, BTreeSet<String>)> = BTreeMap::new();
    let count = async {
        for place in inventory::kept_letters(&app.connections.brokers) {
            place
                .visit(|letter, message| {
                    let (count, queues) = letters.entry(kept_by(message)).or_default();
                    *count += 1;
                    queues.insert(letter.queue);
                })
                .await?;
        }
        anyhow::Ok(())
    };
    let counted = timeout(READ_TIMEOUT, count).await.context("another console may be reading them");
    if let Err(error) = counted.flatten() {
        return unreadable(&error);
    }
    let records = app.records().unwrap_or_default();
    let now = Utc::now();
    // The ids of operations grow with the time.
    let groups = letters.into_iter().rev().map(|(operation, (count, queues))| {
        KeptGroup::new(operation, count, queues.into_iter().collect(), records.get(operation), now)
    });
    view::kept_list(user, groups.collect())
}

async fn group(user: &User, app: &App, operation: Uuid) -> Response {
    let places = inventory::kept_letters(&app.connections.brokers);
    let found = match found::read(&places, |_, _, message| kept_by(message) == operation).await {
        Ok(found) => found,
        Err(error) => return unreadable(&error),
    };
    let rows = found::rows(app, &found.letters).await;
    let mut queues: BTreeMap<String, u64> = BTreeMap::new();
    for found in &found.letters {
        *queues.entry(found.letter.queue.clone()).or_default() += 1;
    }
    let queues: Vec<_> = queues.into_iter().collect();
    let records = app.records().unwrap_or_default();
    let kept = KeptGroup::new(
        operation,
        found.total as u64,
        queues.iter().map(|(queue, _)| queue.clone()).collect(),
        records.get(operation),
        Utc::now(),
    );
    view::kept(&KeptPage { user, kept, queues, rows, total: found.total })
}

/// Moves those listed letters that are still there back to the dead letters.
pub(super) async fn restore(
    Change(user): Change,
    State(app): State<App>,
    Form(listed): Form<Listed>,
) -> Response {
    let Listed { operation, letters, why } = listed;
    let Some(ids): Option<BTreeSet<LetterId>> = found::parse_ids(&letters) else { return not_listed() };
    let places = inventory::kept_letters(&app.connections.brokers);
    let is_listed = |message: &Incoming, id: &LetterId| kept_by(message) == operation && ids.contains(id);
    let found = match found::read(&places, |_, letter, message| is_listed(message, &letter.id)).await {
        Ok(found) => found.letters,
        Err(error) => return unreadable(&error),
    };
    if found.is_empty() {
        return moved();
    }
    let selection = format!("{} listed on the page, kept by {operation}", ids.len());
    let letters = found::with_places(found);
    let order = Order { action: Action::Restore, letters, selection, why: text(&why), body: None };
    app.operations.start(user, order).await
}
