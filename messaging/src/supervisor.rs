//! Lets sessions crash, and starts them anew.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::Backoff;

/// How long a session may take to finish what is in hand once shutdown has begun.
const GRACE: Duration = Duration::from_secs(7);

/// The state of a supervised session, for whoever asks after its health.
#[derive(Debug, Clone)]
pub struct ConnectionStatus {
    name: &'static str,
    /// Why it is down; `None` while it is up.
    down: Arc<watch::Sender<Option<String>>>,
}

impl ConnectionStatus {
    /// A link that is not up yet. The name appears in logs and health reports.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let starting = watch::Sender::new(Some("starting".to_owned()));
        Self { name, down: Arc::new(starting) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Why it is down; `None` while it is up.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.down.borrow().clone()
    }

    /// To be called by the session once all it needs is there.
    pub fn up(&self) {
        if self.down.send_replace(None).is_some() {
            tracing::info!(link = self.name, "up");
        }
    }

    /// One line for each problem of an outage, however many attempts it takes.
    fn down(&self, problem: String, told: &mut HashSet<String>) {
        if told.insert(problem.clone()) {
            tracing::warn!(link = self.name, "down: {problem}; trying again until it is back");
        }
        self.down.send_replace(Some(problem));
    }
}

/// Runs sessions one after another until one ends well, and returns what it gave; `None` if shutdown came
/// first. When one fails, everything of it is dropped and after a backoff the next starts from nothing.
pub async fn supervise<S, T>(
    link: &ConnectionStatus,
    shutdown: &CancellationToken,
    mut session: impl FnMut() -> S,
) -> Option<T>
where
    S: Future<Output = anyhow::Result<T>>,
{
    let mut backoff = Backoff::default();
    let mut told = HashSet::new();
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = session() => ended,
            () = async { shutdown.cancelled().await; sleep(GRACE).await } => return None,
        };
        let problem = match ended {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        // A session that came up and stayed is no part of the row of failures before it.
        if link.problem().is_none() {
            told.clear();
            if started.elapsed() > Backoff::LONGEST {
                backoff = Backoff::default();
            }
        }
        link.down(format!("{problem:#}"), &mut told);
        tokio::select! {
            () = sleep(backoff.next_delay()) => {}
            () = shutdown.cancelled() => {}
        }
    }
    None
}
