//! When to retry the events that the broker refused.
//!
//! A retry of a nacked event is a duplicate for the queues that took it. Therefore only one event of a type probes
//! the broker, with increasing delays. After a confirm, batches double until the next refusal. The probe is always
//! the event that has waited longest since its last attempt, so one event that is always refused does not delay the
//! others of its type.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use messaging::{Backoff, Outgoing};
use tokio::time::Instant;

use super::{MAX_BATCH, POLL_INTERVAL};
use crate::outbox::Settlement;

/// The pause after each event that some queues may have already: at most 1,000 duplicates per second, so that fresh
/// events do not wait behind them in those queues.
const PAUSE_PER_DUPLICATE: Duration = Duration::from_millis(1);

/// After a session that ended during an attempt. If the claim itself takes too long, fresh events still leave.
const INTERRUPTED: Duration = Duration::from_secs(30);

/// The message types that have parked events.
#[derive(Debug, Default)]
pub(super) struct ParkedTypes(HashMap<String, ParkedType>);

#[derive(Debug)]
struct ParkedType {
    due: Instant,
    backoff: Backoff,
    /// The size of the next batch. 1 is a probe.
    limit: i64,
    /// Events whose attempt was due before were claimed already.
    since: DateTime<Utc>,
}

/// What to claim for one attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) message_type: String,
    pub(super) since: DateTime<Utc>,
    pub(super) limit: i64,
}

impl ParkedType {
    fn new(due: Instant) -> Self {
        Self { due, backoff: Backoff::default(), limit: 1, since: DateTime::UNIX_EPOCH }
    }
}

impl ParkedTypes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the time of the next attempt.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().map(|parked| parked.due).min()
    }

    /// Replaces the types by those that the outbox has.
    pub(super) fn set_types(&mut self, types: Vec<String>, now: Instant) {
        self.0.retain(|message_type, _| {
            let kept = types.contains(message_type);
            if !kept {
                tracing::info!(message_type, "the broker has accepted all refused events");
            }
            kept
        });
        for message_type in types {
            self.0.entry(message_type).or_insert_with(|| ParkedType::new(now));
        }
    }

    /// Notes the outcomes of fresh events. A refusal adds the type. A confirm brings the next probe forward.
    pub(super) fn observe_fresh(&mut self, messages: &[Outgoing], settlement: &Settlement, now: Instant) {
        for message in messages {
            let message_type = message.envelope.message_type.as_ref();
            let message_id = message.envelope.message_id;
            let refusal = settlement.refused.iter().find(|(refused, _)| *refused == message_id);
            match (self.0.get_mut(message_type), refusal) {
                (None, Some((_, outcome))) => {
                    tracing::warn!(
                        message_type,
                        ?outcome,
                        "the broker does not accept these events; they wait in the outbox, and later events pass them"
                    );
                    let mut parked = ParkedType::new(now);
                    parked.due = now + parked.backoff.next_delay();
                    self.0.insert(message_type.to_owned(), parked);
                }
                (Some(parked), None) => parked.due = parked.due.min(now + POLL_INTERVAL),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }

    /// Returns the attempt that is due first, if one is due now.
    pub(super) fn start_attempt(&mut self, now: Instant) -> Option<Attempt> {
        let (message_type, parked) = self.0.iter_mut().min_by_key(|(_, parked)| parked.due)?;
        if parked.due > now {
            return None;
        }
        // The outcome of the attempt sets another time, unless the session ends.
        parked.due = now + INTERRUPTED;
        Some(Attempt { message_type: message_type.clone(), since: parked.since, limit: parked.limit })
    }

    /// Notes that no event of the type is due. The next attempt reads the index from the start.
    pub(super) fn found_nothing(&mut self, attempt: &Attempt, now: Instant) {
        if let Some(parked) = self.0.get_mut(&attempt.message_type) {
            parked.since = DateTime::UNIX_EPOCH;
            parked.due = now + POLL_INTERVAL;
        }
    }

    /// Notes the outcome of an attempt, and sets the time and the size of the next one.
    pub(super) fn settled(
        &mut self,
        attempt: &Attempt,
        last: DateTime<Utc>,
        settlement: &Settlement,
        any_nacked: bool,
        now: Instant,
    ) {
        let Some(parked) = self.0.get_mut(&attempt.message_type) else { return };
        let (confirmed, refused) = (settlement.confirmed.len(), settlement.refused.len());
        parked.since = last;
        if refused > confirmed {
            parked.limit = 1;
            parked.due = now + parked.backoff.next_delay();
            return;
        }
        parked.backoff = Backoff::default();
        parked.limit =
            if refused == 0 { (parked.limit * 2).min(MAX_BATCH) } else { (parked.limit / 2).max(1) };
        let duplicates = if any_nacked { confirmed + refused } else { 0 };
        parked.due = now + PAUSE_PER_DUPLICATE * u32::try_from(duplicates).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};
    use messaging::{Backoff, PublishOutcome};
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{INTERRUPTED, MAX_BATCH, PAUSE_PER_DUPLICATE, ParkedTypes};
    use crate::outbox::Settlement;

    const TYPE: &str = "web-store.customer-registered.v1";
    const HOUR: Duration = Duration::from_hours(1);

    fn parked(types: &[&str], now: Instant) -> ParkedTypes {
        let mut parked = ParkedTypes::default();
        parked.set_types(types.iter().map(ToString::to_string).collect(), now);
        parked
    }

    fn settlement(confirmed: usize, refused: usize) -> Settlement {
        let refused = vec![(Uuid::nil(), PublishOutcome::Nacked); refused];
        Settlement { confirmed: vec![Uuid::nil(); confirmed], refused }
    }

    #[test]
    fn refused_type_is_probed_with_one_event_and_a_growing_delay() {
        let mut now = Instant::now();
        let mut types = parked(&[TYPE], now);
        let mut delays = Vec::new();
        for _ in 0..12 {
            let attempt = types.start_attempt(now).unwrap();
            assert_eq!(attempt.limit, 1);
            types.settled(&attempt, Utc::now(), &settlement(0, 1), true, now);
            let due = types.next_due().unwrap();
            assert_eq!(types.start_attempt(now), None, "not due yet");
            delays.push(due - now);
            now = due;
        }
        assert!(delays[0] < Duration::from_secs(1), "{delays:?}");
        assert!(delays[11] >= Backoff::MAX_DELAY / 2, "{delays:?}");
    }

    #[test]
    fn accepted_type_drains_in_growing_batches_without_a_storm_of_duplicates() {
        for (any_nacked, pause) in [(false, Duration::ZERO), (true, PAUSE_PER_DUPLICATE)] {
            let mut now = Instant::now();
            let mut types = parked(&[TYPE], now);
            for limit in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
                let attempt = types.start_attempt(now).unwrap();
                assert_eq!(attempt.limit, limit);
                let confirmed = usize::try_from(limit).unwrap();
                types.settled(&attempt, Utc::now(), &settlement(confirmed, 0), any_nacked, now);
                let due = types.next_due().unwrap();
                assert_eq!(due - now, pause * u32::try_from(limit).unwrap());
                now = due;
            }
            // One event that is always refused slows the others down, and does not stop them.
            let attempt = types.start_attempt(now).unwrap();
            types.settled(&attempt, Utc::now(), &settlement(255, 1), any_nacked, now);
            now = types.next_due().unwrap();
            assert_eq!(types.start_attempt(now).unwrap().limit, MAX_BATCH / 2);
        }
    }

    #[test]
    fn refused_type_does_not_delay_another_type() {
        let now = Instant::now();
        let mut types = parked(&[TYPE, "other"], now);
        let attempts = [types.start_attempt(now).unwrap(), types.start_attempt(now).unwrap()];
        assert_ne!(attempts[0].message_type, attempts[1].message_type);
        assert_eq!(types.start_attempt(now), None);
        // The session ended during both attempts.
        assert!(types.start_attempt(now + INTERRUPTED).is_some());
    }

    #[test]
    fn type_without_parked_events_is_forgotten_and_an_empty_read_starts_again() {
        let now = Instant::now();
        let mut types = parked(&[TYPE], now);
        let attempt = types.start_attempt(now).unwrap();
        let last = Utc::now();
        types.settled(&attempt, last, &settlement(1, 0), false, now);
        let attempt = types.start_attempt(now).unwrap();
        assert_eq!(attempt.since, last);
        types.found_nothing(&attempt, now);
        assert_eq!(types.start_attempt(now + HOUR).unwrap().since, DateTime::UNIX_EPOCH);
        types.set_types(Vec::new(), now);
        assert!(types.is_empty() && types.start_attempt(now + HOUR).is_none());
    }
}
