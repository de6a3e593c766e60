//! Operations on dead letters that the page has started.
//!
//! An operation may take longer than a request, so it runs in a task. After a restart of the console, the journal has
//! its letters, and `console dead-letters resume` continues it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{App, access::User, sampler::Sampler, view};
use crate::{
    connections::Connections,
    dead_letters::operation::{Operation, Outcome},
    inventory,
    journal::{Action, Journal},
    letter::Letter,
};

/// The time that a request waits for its operation. It is shorter than the time limit of a request.
const WAIT: Duration = Duration::from_secs(7);

/// The number of operations that the page remembers.
const MAX_KNOWN: usize = 1000;

/// Starts operations, and knows their state. Clones share it.
#[derive(Clone)]
pub(super) struct Operations {
    connections: Arc<Connections>,
    sampler: Arc<Sampler>,
    known: Arc<Mutex<BTreeMap<Uuid, Status>>>,
}

/// The letters of an operation and their new place.
pub(super) struct Order {
    pub(super) action: Action,
    /// Each letter with the queue that has it.
    pub(super) letters: Vec<(String, Letter)>,
    /// The choice of the letters, for the journal.
    pub(super) selection: String,
    pub(super) why: Option<String>,
    /// The new body of an edited letter.
    pub(super) body: Option<Vec<u8>>,
}

/// An operation, as its page shows it.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) action: Action,
    pub(super) letters: u64,
    pub(super) operator: String,
    pub(super) state: OperationState,
}

#[derive(Debug, Clone)]
pub(super) enum OperationState {
    Running,
    Finished {
        moved: u64,
        absent: u64,
    },
    Cancelled,
    /// Letters that have not moved stay.
    Interrupted(String),
}

impl Operations {
    pub(super) fn new(connections: Connections, sampler: Arc<Sampler>) -> Self {
        Self { connections: Arc::new(connections), sampler, known: Arc::default() }
    }

    /// Starts an operation, and waits for its end for some seconds. Returns its id.
    ///
    /// # Errors
    /// Returns an error if the operation cannot be written to the journal in time.
    pub(super) async fn start(&self, operator: String, order: Order) -> anyhow::Result<Uuid> {
        let deadline = Instant::now() + WAIT;
        let (started, id) = oneshot::channel();
        let operations = self.clone();
        let mut task = tokio::spawn(async move { operations.run(operator, order, started).await });
        let id = timeout_at(deadline, id).await.map_err(|_| anyhow!("the journal does not respond"))?;
        let Ok(id) = id else {
            // The task has ended before it started the operation.
            return Err(task.await?.err().unwrap_or_else(|| anyhow!("the operation did not start")));
        };
        let _ = timeout_at(deadline, &mut task).await;
        Ok(id)
    }

    async fn run(
        &self,
        operator: String,
        order: Order,
        started: oneshot::Sender<Uuid>,
    ) -> anyhow::Result<()> {
        let brokers = &self.connections.brokers;
        let places = inventory::dead_letters(brokers);
        let mut journal = Journal::open(brokers.source(), &operator).await?;
        let Order { action, letters, selection, why, body } = order;
        let operation =
            Operation::start(&mut journal, action, &letters, &selection, None, why.as_deref()).await?;
        let operation = match body {
            Some(body) => operation.with_body(&mut journal, body).await?,
            None => operation,
        };
        let id = operation.id;
        let set = |state| {
            let status = Status { action, letters: operation.count(), operator: operator.clone(), state };
            self.note(id, status);
        };
        set(OperationState::Running);
        // The request may have ended.
        let _ = started.send(id);
        let outcome = operation.execute(&mut journal, &places).await;
        self.sampler.letters_changed();
        set(match outcome {
            Ok(Outcome::Finished { moved, absent }) => OperationState::Finished { moved, absent },
            Ok(Outcome::Cancelled) => OperationState::Cancelled,
            Err(error) => {
                tracing::warn!(operation = %id, "an operation is interrupted: {error:#}");
                OperationState::Interrupted(format!("{error:#}"))
            }
        });
        Ok(())
    }

    fn note(&self, id: Uuid, status: Status) {
        let mut known = self.known();
        known.insert(id, status);
        if known.len() > MAX_KNOWN {
            known.pop_first();
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Uuid, Status>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn show(user: User, State(app): State<App>, Path(id): Path<Uuid>) -> Response {
    let status = app.operations.known().get(&id).cloned();
    status.map_or_else(
        || {
            let detail =
                format!("This page has not started it. Its entries: console journal --operation {id}");
            view::failure(StatusCode::NOT_FOUND, "The operation is not known here", &detail)
        },
        |status| view::operation(&user, id, &status),
    )
}
