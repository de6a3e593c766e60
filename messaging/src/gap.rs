//! The gap of a new queue: the messages that were sent before it existed.
//!
//! A consumer that has to create its queue has a gap. The broker may have confirmed the messages, because another
//! queue received them. The consumer therefore requests them again:
//!
//! 1. It declares the gap's marker, a durable exchange without a binding.
//! 2. It creates the queue and binds it. From then on the queue misses nothing.
//! 3. It publishes the request, and waits for the confirm.
//! 4. It deletes the marker.
//!
//! At each start, an existing marker means that the request is still to be sent. A crash therefore repeats the request
//! and never loses it. The request is published over a separate connection, because an alarm of the broker would block
//! the consumer's acks otherwise.

use std::{
    slice,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use contracts::topology::Queue;

use crate::{Backoff, Outgoing, PublishOutcome, Session, SessionError};

/// Builds the request for the messages that a queue has missed. Each gap needs a request with an id of its own.
pub type BuildRequest<'a> = dyn Fn() -> Outgoing + Send + Sync + 'a;

/// The gap of one queue, for health checks. Clones share it.
#[derive(Debug, Clone)]
pub struct GapStatus {
    queue: &'static str,
    problem: Arc<Mutex<Option<String>>>,
}

impl GapStatus {
    /// Creates the status of a queue without a known gap.
    #[must_use]
    pub fn new(queue: &Queue) -> Self {
        Self { queue: queue.name, problem: Arc::default() }
    }

    /// Returns the reason why messages are missing and its fix, or `None` if there is no gap.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the problems of several queues as one, or `None` if no queue has a gap.
    #[must_use]
    pub fn problems<'a>(statuses: impl IntoIterator<Item = &'a Self>) -> Option<String> {
        let problems: Vec<_> = statuses.into_iter().filter_map(Self::problem).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Reports the gap, or its end. Logs each change.
    fn set(&self, problem: Option<String>) {
        let mut current = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == problem {
            return;
        }
        if let Some(problem) = &problem {
            tracing::warn!(queue = self.queue, "{problem}");
        } else {
            tracing::info!(queue = self.queue, "the earlier messages have been requested");
        }
        *current = problem;
    }
}

/// The gap of a consumer's queue, and the request that closes it.
pub(crate) struct Gap<'a> {
    queue: &'a Queue,
    /// `None` if a setting disables the request.
    request: Option<&'a BuildRequest<'a>>,
    status: &'a GapStatus,
    backoff: Backoff,
}

/// The reason why a gap stays open.
#[derive(Debug, thiserror::Error)]
enum GapError {
    #[error(
        "{queue} was created and lacks the messages that were sent before. Start this service with \
         --replay-on-new-queue=true to request them, or delete the exchange {marker} if they are not needed"
    )]
    Disabled { queue: &'static str, marker: String },
    #[error(
        "{queue} was created, and no application receives the request for earlier messages yet; trying again"
    )]
    NoReceiver { queue: &'static str },
    #[error(
        "{queue} was created, and the broker does not take the request for earlier messages; trying again"
    )]
    Nacked { queue: &'static str },
    #[error("cannot request the messages that were sent before {queue} was created: {error}")]
    Session { queue: &'static str, error: SessionError },
}

impl<'a> Gap<'a> {
    pub(crate) fn new(
        queue: &'a Queue,
        status: &'a GapStatus,
        request: Option<&'a BuildRequest<'a>>,
    ) -> Self {
        Self { queue, request, status, backoff: Backoff::default() }
    }

    /// Requests the missed messages if there is a gap. Returns the time until the next attempt if this one failed.
    ///
    /// The caller has declared and bound the queue before, so no message is missed after the request.
    pub(crate) async fn close(&mut self, session: &Session) -> Option<Duration> {
        match self.try_close(session).await {
            Ok(()) => {
                self.backoff = Backoff::default();
                self.status.set(None);
                None
            }
            Err(error) => {
                let is_disabled = matches!(error, GapError::Disabled { .. });
                self.status.set(Some(error.to_string()));
                (!is_disabled).then(|| self.backoff.next_delay())
            }
        }
    }

    async fn try_close(&self, session: &Session) -> Result<(), GapError> {
        let queue = self.queue.name;
        let failed = |error| GapError::Session { queue, error };
        let marker = self.queue.gap_marker();
        if session.created_queue.swap(false, Ordering::Relaxed) {
            // Another instance that has closed an earlier gap may have deleted the marker of this one.
            session.mark_gap(&marker).await.map_err(failed)?;
        }
        if !session.has_exchange(&marker).await.map_err(failed)? {
            return Ok(());
        }
        let Some(build_request) = self.request else {
            return Err(GapError::Disabled { queue, marker });
        };
        let request = build_request();
        match publish_request(session, &request).await.map_err(failed)? {
            PublishOutcome::Confirmed => {}
            PublishOutcome::Returned => return Err(GapError::NoReceiver { queue }),
            PublishOutcome::Nacked => return Err(GapError::Nacked { queue }),
        }
        tracing::info!(queue, request = %request.envelope.message_id, "requested the messages before a new queue");
        session.delete_gap_marker(&marker).await.map_err(failed)
    }
}

/// Publishes the request over a connection of its own.
async fn publish_request(consumer: &Session, request: &Outgoing) -> Result<PublishOutcome, SessionError> {
    let session = Session::open_publisher(&consumer.broker, "replay request").await?;
    session.declare_exchange(request.exchange).await?;
    let outcomes = session.publish(slice::from_ref(request)).await?;
    session.close().await;
    Ok(outcomes[0])
}
