//! The relay: moves events from the outbox to the broker, and deletes only confirmed events.
//!
//! A refusal never holds up other events. A nack reports that *some* queue refused the event, and a return that no
//! queue is bound. Refused events are parked and retried by [`parked`].

mod parked;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use contracts::topology;
use messaging::{
    BrokerUrl, ConnectionStatus, MessagingMetrics, Outgoing, PublishOutcome, Session, SessionError,
};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    outbox::{Outbox, Settlement},
    postgres::DatabaseUrl,
};
use parked::ParkedTypes;

/// The largest number of events in one claim.
const MAX_BATCH: i64 = 256;

/// How often the relay queries the outbox without a notification. It finds events of an instance that crashed
/// and events that an operator republished.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How far a claim looks back from the last one. A transaction that writes an event ends within 3 s.
const LOOK_BACK: TimeDelta = TimeDelta::seconds(10);

/// The shortest time between two reads of an index from its start.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// The time until the next read from the start, if the last one did not end.
const SCAN_RETRY: Duration = Duration::from_mins(5);

/// Reads from the start take at most 5 % of the time.
const SCAN_PAUSE_FACTOR: u32 = 20;

/// The relay's connections, and the notification of new events.
#[derive(Debug)]
pub(crate) struct Relay {
    database: DatabaseUrl,
    broker: BrokerUrl,
    metrics: MessagingMetrics,
    /// Notified after each commit that writes to the outbox.
    pub(crate) wake: Notify,
    /// Whether the last batch of fresh events was full.
    backlog: AtomicBool,
    /// Kept from session to session.
    progress: Mutex<Progress>,
}

/// The position in the outbox, and the parked types.
#[derive(Debug)]
struct Progress {
    /// Fresh events since this time are claimed. `None` before the first claim.
    fresh_since: Option<DateTime<Utc>>,
    /// Reads fresh events from the start, and looks for parked types.
    next_scan: Schedule,
    next_parked_scan: Schedule,
    parked: ParkedTypes,
}

/// The time of the next read from the start of an index.
///
/// The read takes longer, the more deleted rows are in the index. It may even reach the limit of a statement, which
/// ends the session. Therefore the next one is scheduled before this one runs.
#[derive(Debug)]
struct Schedule(Instant);

impl Schedule {
    fn is_due(&self, now: Instant) -> bool {
        self.0 <= now
    }

    fn started(&mut self, now: Instant) {
        self.0 = now + SCAN_RETRY;
    }

    fn ended(&mut self, started: Instant, now: Instant) {
        self.0 = now + SCAN_INTERVAL.max((now - started) * SCAN_PAUSE_FACTOR);
    }
}

impl Relay {
    pub(crate) fn new(database: DatabaseUrl, broker: BrokerUrl, metrics: MessagingMetrics) -> Self {
        let now = Instant::now();
        let progress = Progress {
            fresh_since: None,
            next_scan: Schedule(now),
            next_parked_scan: Schedule(now),
            parked: ParkedTypes::default(),
        };
        Self {
            database,
            broker,
            metrics,
            wake: Notify::new(),
            backlog: AtomicBool::new(false),
            progress: Mutex::new(progress),
        }
    }

    /// Returns whether more events are waiting than the relay takes in one batch. Other work on the broker pauses then.
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Runs one session until shutdown or until the first error.
    ///
    /// # Errors
    /// Returns an error if the broker or the database fails. The database then releases claimed events with
    /// the connection. Events that the broker took without a received confirm are published again.
    pub(crate) async fn session(
        &self,
        status: &ConnectionStatus,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut progress = self.progress.lock().await;
        let broker = Session::open_publisher(&self.broker, "web-store relay").await?;
        let broker = broker.with_metrics(&self.metrics);
        broker.declare_exchange(topology::WEB_STORE_EVENTS).await?;
        let mut outbox = Outbox::connect(&self.database).await?;
        tokio::select! {
            waited = outbox.wait_for_schema() => waited?,
            () = shutdown.cancelled() => return Ok(()),
            () = broker.wait_closed() => return Err(SessionError::Lost.into()),
        }
        status.up();
        while !shutdown.is_cancelled() {
            let more_fresh = progress.relay_fresh(&mut outbox, &broker).await?;
            self.backlog.store(more_fresh, Ordering::Relaxed);
            let more_parked = progress.relay_parked(&mut outbox, &broker).await?;
            if more_fresh || more_parked {
                continue;
            }
            let pause = progress.parked.next_due().map_or(POLL_INTERVAL, |due| {
                due.saturating_duration_since(Instant::now()).min(POLL_INTERVAL)
            });
            wait_for_work(&self.wake, pause, &broker, shutdown).await?;
        }
        broker.close().await;
        Ok(())
    }
}

/// Waits for a notification, for the end of the pause, or for shutdown.
///
/// # Errors
/// Returns [`SessionError::Lost`] if the session closes meanwhile.
pub(crate) async fn wait_for_work(
    wake: &Notify,
    pause: Duration,
    broker: &Session,
    shutdown: &CancellationToken,
) -> Result<(), SessionError> {
    tokio::select! {
        () = wake.notified() => Ok(()),
        () = sleep(pause) => Ok(()),
        () = shutdown.cancelled() => Ok(()),
        () = broker.wait_closed() => Err(SessionError::Lost),
    }
}

impl Progress {
    /// Relays one batch of fresh events. Returns whether the batch was full, so that more events may be waiting.
    async fn relay_fresh(&mut self, outbox: &mut Outbox, broker: &Session) -> anyhow::Result<bool> {
        let started = Instant::now();
        let from_start = self.next_scan.is_due(started);
        let since = if from_start { Some(DateTime::UNIX_EPOCH) } else { self.fresh_since };
        if from_start {
            self.next_scan.started(started);
        }
        let claim = outbox.claim_fresh(since, MAX_BATCH).await?;
        if from_start {
            self.next_scan.ended(started, Instant::now());
        }
        let Some(last) = claim.last_position else { return Ok(false) };
        let full = claim.messages.len() == usize::try_from(MAX_BATCH)?;
        let settlement = publish(broker, &claim.messages).await?;
        if !settlement.refused.is_empty() || !self.parked.is_empty() {
            self.parked.observe_fresh(&claim.messages, &settlement, Instant::now());
        }
        claim.complete(&settlement).await?;
        // A full batch from the start shows that more events are as old as these.
        let next = last - LOOK_BACK;
        self.fresh_since = Some(match self.fresh_since {
            Some(since) if !(from_start && full) => since.max(next),
            _ => next,
        });
        Ok(full)
    }

    /// Relays one batch of parked events of one type, if one is due. Returns whether another one is due.
    async fn relay_parked(&mut self, outbox: &mut Outbox, broker: &Session) -> anyhow::Result<bool> {
        let started = Instant::now();
        if self.next_parked_scan.is_due(started) {
            self.next_parked_scan.started(started);
            let types = outbox.parked_types().await?;
            self.next_parked_scan.ended(started, Instant::now());
            self.parked.set_types(types, started);
        }
        let Some(attempt) = self.parked.start_attempt(started) else { return Ok(false) };
        let claim = outbox.claim_parked(&attempt.message_type, attempt.since, attempt.limit).await?;
        let Some(last) = claim.last_position else {
            self.parked.found_nothing(&attempt, Instant::now());
            return Ok(false);
        };
        let settlement = publish(broker, &claim.messages).await?;
        let any_nacked = claim.any_nacked;
        claim.complete(&settlement).await?;
        self.parked.settled(&attempt, last, &settlement, any_nacked, Instant::now());
        Ok(self.parked.next_due().is_some_and(|due| due <= Instant::now()))
    }
}

/// Publishes the events of a claim, and sorts them by the outcome.
async fn publish(broker: &Session, messages: &[Outgoing]) -> Result<Settlement, SessionError> {
    let outcomes = broker.publish(messages).await?;
    let mut settlement = Settlement { confirmed: Vec::with_capacity(messages.len()), refused: Vec::new() };
    for (message, outcome) in messages.iter().zip(outcomes) {
        let message_id = message.envelope.message_id;
        match outcome {
            PublishOutcome::Confirmed => settlement.confirmed.push(message_id),
            PublishOutcome::Returned | PublishOutcome::Nacked => {
                settlement.refused.push((message_id, outcome));
            }
        }
    }
    Ok(settlement)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{SCAN_INTERVAL, SCAN_RETRY, Schedule};

    #[test]
    fn scan_that_does_not_end_is_repeated_later() {
        let now = Instant::now();
        let mut schedule = Schedule(now);
        assert!(schedule.is_due(now));
        schedule.started(now);
        assert!(!schedule.is_due(now + SCAN_RETRY / 2) && schedule.is_due(now + SCAN_RETRY));
        schedule.ended(now, now + Duration::from_millis(1));
        assert!(schedule.is_due(now + SCAN_INTERVAL * 2));
        schedule.ended(now, now + Duration::from_secs(2));
        assert!(!schedule.is_due(now + SCAN_INTERVAL * 2), "a slow scan runs less often");
    }
}
