//! The page of one operation: its outcome, or the dry run of its continuation.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use dead_letters::{
    inventory::Place,
    journal::{Action, Journal},
    letter::Letter,
    operation::Operation,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    App,
    access::Change,
    found::{self, READ_TIMEOUT},
    operations::{OperationState, Status, redirect},
    records::{Outcome, Record, RecordedOperation, Records},
    user::User,
    view::{self, Remainder},
};

/// The time in which the picture reads an entry that was just written.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(2);

/// Shows an operation: one of this process with its state, and every other one as the journal has it.
pub(super) async fn show(user: User, State(app): State<App>, Path(id): Path<Uuid>) -> Response {
    let status = app.operations.status(id);
    let status = status.filter(|status| !matches!(status.state, OperationState::Interrupted(_)));
    if let Some(status) = status {
        return view::operation(&user, id, &status);
    }
    let records = match app.records() {
        Ok(records) => records,
        Err(reason) => {
            let detail = format!("Try again in a few seconds. The cause: {reason}.");
            return view::failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "The journal cannot be read right now",
                &detail,
            );
        }
    };
    let Some((record, operation)) = records.get(id).and_then(|record| Some((record, record.operation?)))
    else {
        let detail = "The journal has no operation with this id. A new one appears after a second.";
        return view::failure(StatusCode::NOT_FOUND, "There is no such operation", detail);
    };
    let status = |state| {
        let RecordedOperation { action, letters, .. } = operation;
        Status { action, letters, operator: record.operator.clone(), state }
    };
    match operation.outcome {
        Outcome::Finished { moved, absent } => {
            view::operation(&user, id, &status(OperationState::Finished { moved, absent }))
        }
        Outcome::Cancelled => view::operation(&user, id, &status(OperationState::Cancelled)),
        Outcome::Unfinished => {
            let cause = match app.operations.status(id).map(|status| status.state) {
                Some(OperationState::Interrupted(cause)) => Some(cause),
                _ => None,
            };
            let remainder = remainder(&app, record, operation).await;
            view::unfinished(&user, record, operation, cause, remainder)
        }
    }
}

/// Returns the letters of an unfinished operation that have not moved, with their effects.
///
/// # Errors
/// Returns the reason for which it cannot continue, or for which the letters cannot be read.
async fn remainder(app: &App, record: &Record, operation: RecordedOperation) -> Result<Remainder, String> {
    if operation.action == Action::Edit {
        return Err(
            "The journal has no bodies, so an edit cannot continue. Cancel it, and edit the letter again \
                    unless it was sent."
                .to_owned(),
        );
    }
    let read = async {
        let brokers = &app.connections.brokers;
        let journal = Journal::read_existing(brokers.source()).await?;
        let journal = journal.ok_or_else(|| anyhow::anyhow!("the journal was deleted"))?;
        let operation = Operation::unfinished(&journal, record.id)?;
        let is_own = |place: &Place<'_>, letter: &Letter, _: &_| operation.contains(&place.name, letter.id);
        found::read(&operation.places(brokers), is_own).await
    };
    let found = match timeout(READ_TIMEOUT, read).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("Its letters cannot be shown: {error:#}.")),
        Err(_) => return Err("Its letters cannot be read: a console may be moving them now.".to_owned()),
    };
    let rows = found::rows(app, &found.letters).await;
    Ok(Remainder { rows, total: found.total })
}

pub(super) async fn resume(change: Change, State(app): State<App>, Path(id): Path<Uuid>) -> Response {
    app.operations.resume(change.0, id).await
}

pub(super) async fn cancel(change: Change, State(app): State<App>, Path(id): Path<Uuid>) -> Response {
    match app.operations.cancel(&change.0.name, id).await {
        Ok(()) => {
            let _ = timeout(PICTURE_TIMEOUT, wait_for_end(app, id)).await;
            redirect(id)
        }
        Err(error) => {
            let detail = format!("The cause: {error:#}.");
            view::failure(StatusCode::CONFLICT, "The operation cannot be cancelled", &detail)
        }
    }
}

/// Waits until the picture has read the end of an operation, which its page shows.
async fn wait_for_end(mut app: App, id: Uuid) {
    let has_ended = |records: &Records| {
        let operation = records.get(id).and_then(|record| record.operation);
        operation.is_some_and(|operation| operation.outcome != Outcome::Unfinished)
    };
    while !app.records().is_ok_and(|records| has_ended(&records)) {
        if app.frames.changed().await.is_err() {
            return;
        }
    }
}
