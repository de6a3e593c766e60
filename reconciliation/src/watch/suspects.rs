//! Customers that differed in a check.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use readers::web_store::Customer;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{comparison::Comparison, flow::Flow};

/// The maximum of suspects. Each takes about 100 bytes. Beyond it, the checks wait.
const MAX_SUSPECTS: usize = 100_000;

/// The pause before a suspect in the outbox is read again.
const OUTBOX_PAUSE: Duration = Duration::from_secs(5);

/// The pause after the first request for a replay of one customer, and the longest one. Each request doubles it.
const INITIAL_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// The rule for services that do not report their messages in flight: a customer is overdue after this time, if another
/// one has arrived whose version is younger by [`YOUNGER`].
const OVERDUE: Duration = Duration::from_secs(20);
const YOUNGER: TimeDelta = TimeDelta::seconds(10);

/// The suspects by id.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    by_id: BTreeMap<Uuid, Suspect>,
    /// The time of the youngest registration that has arrived.
    registration_arrived: Option<DateTime<Utc>>,
    /// The time of the youngest change that has arrived.
    change_arrived: Option<DateTime<Utc>>,
    /// The number of customers that have arrived after a replay, since the last log line.
    repaired: u64,
}

#[derive(Debug)]
struct Suspect {
    version: i64,
    since: DateTime<Utc>,
    /// The time at which the event was not in the outbox any more, or `None` while it is there.
    left_outbox: Option<Instant>,
    not_before: Instant,
    /// The number of requests and reports about this customer.
    pauses: u32,
    /// Whether a replay was requested.
    replay_requested: bool,
    /// Whether the evidence has shown that its message is lost.
    is_lost: bool,
}

/// Returns the pause of a customer after a request, which is twice the one before.
pub(super) fn pause_after(earlier_pauses: u32) -> Duration {
    MAX_PAUSE.min(INITIAL_PAUSE * 2u32.saturating_pow(earlier_pauses.min(16)))
}

/// The effect of a comparison on the evidence about a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The customer is in the same version, and its event is still not in the outbox.
    Kept,
    /// The message that is expected is a new one.
    Reset,
}

impl Suspects {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the number of suspects whose message is lost. They are repaired when they arrive.
    pub(super) fn lost(&self) -> usize {
        self.by_id.values().filter(|suspect| suspect.is_lost).count()
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_id.len() >= MAX_SUSPECTS
    }

    /// Notes the comparison of a customer that was read from the Web Store before `read_at`.
    pub(super) fn note(&mut self, customer: &Customer, comparison: Comparison, read_at: Instant) -> Evidence {
        if comparison == Comparison::Arrived {
            if self.by_id.remove(&customer.id).is_some_and(|suspect| suspect.replay_requested) {
                self.repaired += 1;
            }
            let arrived = self.youngest_arrival(customer.version);
            *arrived = Some(arrived.map_or(customer.since, |arrived| arrived.max(customer.since)));
            return Evidence::Reset;
        }
        let left_outbox = (!customer.in_outbox).then_some(read_at);
        let suspect = self.by_id.entry(customer.id).or_insert_with(|| Suspect {
            version: customer.version,
            since: customer.since,
            left_outbox: None,
            not_before: read_at,
            pauses: 0,
            replay_requested: false,
            is_lost: false,
        });
        if left_outbox.is_some() && suspect.left_outbox.is_some() && suspect.version == customer.version {
            return Evidence::Kept;
        }
        suspect.version = customer.version;
        suspect.since = customer.since;
        suspect.left_outbox = left_outbox;
        if left_outbox.is_none() {
            suspect.not_before = suspect.not_before.max(read_at + OUTBOX_PAUSE);
        }
        Evidence::Reset
    }

    fn youngest_arrival(&mut self, version: i64) -> &mut Option<DateTime<Utc>> {
        if version == 1 { &mut self.registration_arrived } else { &mut self.change_arrived }
    }

    /// Returns up to `limit` suspects to compare, by id: those in the outbox, and those whose messages have passed the
    /// queues.
    pub(super) fn due(&self, flow: &Flow, now: Instant, limit: usize) -> Vec<(Uuid, i64)> {
        let due = self.by_id.iter().filter(|(_, suspect)| {
            let has_passed =
                |left_outbox| flow.has_passed(left_outbox) || self.is_overdue(suspect, flow, now);
            suspect.not_before <= now && suspect.left_outbox.is_none_or(has_passed)
        });
        due.map(|(id, suspect)| (*id, suspect.version)).take(limit).collect()
    }

    /// Returns whether younger customers have arrived before this one. It counts only if a service does not report its
    /// messages in flight: otherwise the flow is better evidence.
    fn is_overdue(&self, suspect: &Suspect, flow: &Flow, now: Instant) -> bool {
        let arrived = if suspect.version == 1 { self.registration_arrived } else { self.change_arrived };
        !flow.is_observable()
            && suspect.left_outbox.is_some_and(|left_outbox| now >= left_outbox + OVERDUE)
            && arrived.is_some_and(|arrived| arrived >= suspect.since + YOUNGER)
    }

    /// Removes those of `ids` that do not exist in the Web Store any more. Both lists are sorted.
    pub(super) fn remove_absent(&mut self, ids: &[Uuid], existing: &[Customer]) {
        for id in ids {
            if existing.binary_search_by_key(id, |customer| customer.id).is_err() {
                self.by_id.remove(id);
            }
        }
    }

    /// Pauses suspects. Each pause of the same suspect is twice as long as the one before.
    pub(super) fn pause(&mut self, ids: &[Uuid], now: Instant) {
        for id in ids {
            if let Some(suspect) = self.by_id.get_mut(id) {
                suspect.not_before = now + pause_after(suspect.pauses);
                suspect.pauses += 1;
            }
        }
    }

    /// Notes that the messages of these suspects are lost.
    pub(super) fn note_lost(&mut self, ids: &[Uuid]) {
        for id in ids {
            if let Some(suspect) = self.by_id.get_mut(id) {
                suspect.is_lost = true;
            }
        }
    }

    /// Notes that the Web Store will publish the events of these suspects again. They need new evidence then.
    pub(super) fn replay_requested(&mut self, ids: &[Uuid], now: Instant) {
        for id in ids {
            if let Some(suspect) = self.by_id.get_mut(id) {
                suspect.left_outbox = Some(now);
                suspect.replay_requested = true;
            }
        }
    }

    /// Returns whether a replay of this suspect was requested.
    pub(super) fn was_requested(&self, id: Uuid) -> bool {
        self.by_id.get(&id).is_some_and(|suspect| suspect.replay_requested)
    }

    /// Logs the number of customers that have arrived after a replay.
    pub(super) fn log_repaired(&mut self) {
        let repaired = std::mem::take(&mut self.repaired);
        if repaired > 0 {
            tracing::info!(customers = repaired, "lost customers have arrived after a replay");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{TimeDelta, Utc};
    use readers::web_store::Customer;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{Evidence, INITIAL_PAUSE, OVERDUE, Suspects};
    use crate::{comparison::Comparison, flow::Flow};

    const MISSING: Comparison = Comparison::Different { marketing: None };

    fn customer(id: u128) -> Customer {
        Customer { id: Uuid::from_u128(id), version: 1, since: Utc::now(), in_outbox: false }
    }

    #[test]
    fn evidence_ends_with_new_version_and_with_outbox() {
        let mut suspects = Suspects::default();
        let now = Instant::now();
        let first = customer(1);
        let second = Customer { version: 2, ..first };
        for (customer, evidence) in [
            (first, Evidence::Reset),
            (first, Evidence::Kept),
            (second, Evidence::Reset),
            (second, Evidence::Kept),
            (Customer { in_outbox: true, ..second }, Evidence::Reset),
            (second, Evidence::Reset),
            (second, Evidence::Kept),
        ] {
            assert_eq!(suspects.note(&customer, MISSING, now), evidence);
        }
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let mut suspects = Suspects::default();
        let start = Instant::now();
        suspects.note(&Customer { in_outbox: true, ..customer(1) }, MISSING, start);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            suspects.pause(&[Uuid::from_u128(1)], start);
            pauses.push((suspects.by_id[&Uuid::from_u128(1)].not_before - start).as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        let due = |time| suspects.due(&Flow::default(), time, 10).len();
        assert_eq!((due(start + INITIAL_PAUSE), due(start + Duration::from_hours(1))), (0, 1));
    }

    #[test]
    fn suspect_is_overdue_only_after_younger_arrival() {
        let mut suspects = Suspects::default();
        let (start, unobservable) = (Instant::now(), Flow::default());
        let lost = customer(1);
        suspects.note(&lost, MISSING, start);
        let due = |suspects: &Suspects| suspects.due(&unobservable, start + OVERDUE, 10).len();
        assert_eq!(due(&suspects), 0);
        for (younger, expected) in [(9, 0), (10, 1)] {
            let arrived = Customer { since: lost.since + TimeDelta::seconds(younger), ..customer(2) };
            suspects.note(&arrived, Comparison::Arrived, start);
            assert_eq!(due(&suspects), expected, "{younger} s younger");
        }
    }
}
