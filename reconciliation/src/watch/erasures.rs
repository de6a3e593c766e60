//! Erased customers that Marketing still has.

use std::{collections::BTreeMap, time::Duration};

use contracts::MAX_REPLAYED_CUSTOMERS;
use tokio::time::Instant;
use uuid::Uuid;

use super::suspects::pause_after;

/// The time for the messages of an erasure to arrive. A needless request only repeats an erasure, so this needs no
/// evidence from the queues.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum of erased customers that are followed. A later scan finds the others again.
const MAX_ERASURES: usize = 10_000;

/// The erased customers of which Marketing has details, by id.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    by_id: BTreeMap<Uuid, Erasure>,
}

#[derive(Debug)]
struct Erasure {
    not_before: Instant,
    /// The number of requests for this customer.
    requests: u32,
}

impl Erasures {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the number of customers whose erasure is lost. They are repaired when Marketing forgets them.
    pub(super) fn lost(&self) -> usize {
        self.by_id.values().filter(|erasure| erasure.requests > 0).count()
    }

    /// Notes erased customers of which Marketing had details at `now`.
    pub(super) fn note(&mut self, customers: Vec<Uuid>, now: Instant) {
        for id in customers {
            if self.by_id.len() < MAX_ERASURES {
                self.by_id.entry(id).or_insert(Erasure { not_before: now + PATIENCE, requests: 0 });
            }
        }
    }

    /// Returns the customers to compare again, as many as one request can contain, by id.
    pub(super) fn due(&self, now: Instant) -> Vec<Uuid> {
        let due = self.by_id.iter().filter(|(_, erasure)| erasure.not_before <= now);
        due.map(|(id, _)| *id).take(MAX_REPLAYED_CUSTOMERS).collect()
    }

    /// Removes a customer that Marketing has forgotten.
    pub(super) fn forgotten(&mut self, id: Uuid) {
        if self.by_id.remove(&id).is_some_and(|erasure| erasure.requests > 0) {
            tracing::info!(customer_id = %id, "Marketing has forgotten an erased customer after a replay");
        }
    }

    /// Pauses customers after a request or a report. Each pause of the same customer is twice as long as the one before.
    pub(super) fn pause(&mut self, ids: &[Uuid], now: Instant) {
        for id in ids {
            if let Some(erasure) = self.by_id.get_mut(id) {
                erasure.not_before = now + pause_after(erasure.requests);
                erasure.requests += 1;
            }
        }
    }
}
