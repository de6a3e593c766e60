//! Operations on letters that the page starts, resumes, and cancels.
//!
//! An operation may take longer than a request, so it runs in a task. After a restart of the console, the journal has
//! its letters, so its page can resume it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{anyhow, ensure};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use dead_letters::{
    journal::{Action, Journal},
    letter::Letter,
    operation::{Operation, Outcome},
};
use readers::connections::Connections;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{sampler::Sampler, user::User, view};

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

/// The letters of a new operation and their new place.
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

enum Task {
    New(Order),
    Resumed(Uuid),
}

/// An operation that this process executes or has executed.
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

    /// Starts an operation, waits for its end for some seconds, and redirects to its page.
    pub(super) async fn start(&self, user: User, order: Order) -> Response {
        self.execute(user.name, Task::New(order)).await
    }

    /// Continues an interrupted operation, waits for its end for some seconds, and redirects to its page.
    pub(super) async fn resume(&self, user: User, id: Uuid) -> Response {
        self.execute(user.name, Task::Resumed(id)).await
    }

    async fn execute(&self, operator: String, task: Task) -> Response {
        match self.spawn(operator, task).await {
            Ok(id) => redirect(id),
            Err(error) => {
                tracing::warn!("an operation cannot start: {error:#}");
                let detail = format!("No letter has moved. The cause: {error:#}.");
                view::failure(StatusCode::SERVICE_UNAVAILABLE, "The operation cannot start", &detail)
            }
        }
    }

    /// Executes a task in the background, and waits for its end for some seconds. Returns the id of its operation.
    async fn spawn(&self, operator: String, task: Task) -> anyhow::Result<Uuid> {
        let deadline = Instant::now() + WAIT;
        let (started, id) = oneshot::channel();
        let operations = self.clone();
        let mut running = tokio::spawn(async move { operations.run(operator, task, started).await });
        let id = timeout_at(deadline, id).await.map_err(|_| anyhow!("the journal does not respond"))?;
        let Ok(id) = id else {
            // The task has ended before it started the operation.
            return Err(running.await?.err().unwrap_or_else(|| anyhow!("the operation did not start")));
        };
        let _ = timeout_at(deadline, &mut running).await;
        Ok(id)
    }

    async fn run(&self, operator: String, task: Task, started: oneshot::Sender<Uuid>) -> anyhow::Result<()> {
        let brokers = &self.connections.brokers;
        let mut journal = Journal::open(brokers.source(), &operator).await?;
        let operation = match task {
            Task::New(Order { action, letters, selection, why, body }) => {
                let why = why.as_deref();
                let operation =
                    Operation::start(&mut journal, action, &letters, &selection, None, why).await?;
                match body {
                    Some(body) => operation.with_body(&mut journal, body).await?,
                    None => operation,
                }
            }
            Task::Resumed(id) => {
                ensure!(!self.is_running(id), "it runs already");
                Operation::resume(&mut journal, id).await?
            }
        };
        let id = operation.id;
        let set = |state| {
            let (action, letters) = (operation.action, operation.count());
            self.note(id, Status { action, letters, operator: operator.clone(), state });
        };
        set(OperationState::Running);
        // The request may have ended.
        let _ = started.send(id);
        let outcome = operation.execute(&mut journal, &operation.places(brokers)).await;
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

    /// Cancels an operation, also one that another console executes.
    ///
    /// # Errors
    /// Returns an error if the operation is unknown or has ended, or if the journal cannot be written in time.
    pub(super) async fn cancel(&self, operator: &str, id: Uuid) -> anyhow::Result<()> {
        let cancel = async {
            let mut journal = Journal::open(self.connections.brokers.source(), operator).await?;
            Operation::cancel(&mut journal, id).await
        };
        timeout(WAIT, cancel).await.map_err(|_| anyhow!("the journal does not respond"))??;
        if let Some(status) = self.known().get_mut(&id) {
            status.state = OperationState::Cancelled;
        }
        Ok(())
    }

    /// Returns the state of an operation that this process executes or has executed.
    pub(super) fn status(&self, id: Uuid) -> Option<Status> {
        self.known().get(&id).cloned()
    }

    fn is_running(&self, id: Uuid) -> bool {
        self.status(id).is_some_and(|status| matches!(status.state, OperationState::Running))
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

/// Redirects to the page of an operation.
pub(super) fn redirect(id: Uuid) -> Response {
    Redirect::to(&format!("/operations/{id}")).into_response()
}
