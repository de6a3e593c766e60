//! Restarts crashed sessions, with backoff.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::Backoff;

/// The time that a session has to finish its messages in flight after shutdown begins.
const GRACE_PERIOD: Duration = Duration::from_secs(7);

/// The state of a supervised session, for logs and health checks.
#[derive(Debug, Clone)]
pub struct ConnectionStatus {
    name: &'static str,
    /// The reason for being down, or `None` while up.
    down: Arc<watch::Sender<Option<String>>>,
    failures: Arc<AtomicU64>,
}

impl ConnectionStatus {
    /// Creates a status that is not up yet. The name appears in logs and health reports.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let starting = watch::Sender::new(Some("starting".to_owned()));
        Self { name, down: Arc::new(starting), failures: Arc::default() }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the reason for being down, or `None` while up.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.down.borrow().clone()
    }

    /// Returns the number of sessions that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Reports a problem of a session that stays up, or its end. Logs each change.
    pub fn set_problem(&self, problem: Option<String>) {
        let changed = self.down.send_if_modified(|current| {
            let changed = *current != problem;
            current.clone_from(&problem);
            changed
        });
        match problem {
            Some(problem) if changed => tracing::warn!(connection = self.name, "{problem}"),
            None if changed => tracing::info!(connection = self.name, "the problem is solved"),
            _ => {}
        }
    }

    /// Marks the session as up. The session calls this when everything that it needs is available.
    pub fn up(&self) {
        if self.down.send_replace(None).is_some() {
            tracing::info!(connection = self.name, "up");
        }
    }

    /// Marks the session as down. Logs each distinct problem of an outage once, regardless of the number of
    /// attempts.
    fn down(&self, problem: String, logged: &mut HashSet<String>) {
        if logged.insert(problem.clone()) {
            tracing::warn!(connection = self.name, "down: {problem}; trying again until it is back");
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.down.send_replace(Some(problem));
    }
}

/// Runs sessions one after another until one succeeds, and returns its value.
///
/// A failed session is dropped as a whole, also if it panicked. After a backoff, the next one starts from the
/// beginning. Returns `None` if shutdown ends the attempts first.
pub async fn supervise<S, T>(
    status: &ConnectionStatus,
    shutdown: &CancellationToken,
    mut session: impl FnMut() -> S,
) -> Option<T>
where
    S: Future<Output = anyhow::Result<T>>,
{
    let mut backoff = Backoff::default();
    let mut logged = HashSet::new();
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let result = tokio::select! {
            result = AssertUnwindSafe(session()).catch_unwind() => {
                result.unwrap_or_else(|_| Err(anyhow::anyhow!("the session panicked")))
            }
            () = async { shutdown.cancelled().await; sleep(GRACE_PERIOD).await } => return None,
        };
        let problem = match result {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        // A session that came up has ended the outage. If it also stayed up, the backoff starts again.
        if status.problem().is_none() {
            logged.clear();
            if started.elapsed() > Backoff::MAX_DELAY {
                backoff = Backoff::default();
            }
        }
        status.down(format!("{problem:#}"), &mut logged);
        tokio::select! {
            () = sleep(backoff.next_delay()) => {}
            () = shutdown.cancelled() => {}
        }
    }
    None
}
