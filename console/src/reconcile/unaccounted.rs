//! Customers that neither the outbox nor Marketing had when the tables were compared.

use contracts::topology::QUEUES;
use uuid::Uuid;

use super::Report;

/// A location of a customer's message or row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    Outbox,
    /// An index into [`QUEUES`].
    Queue(u8),
    /// An index into the reasons of dead letters.
    DeadLetters(u8),
    Marketing,
    /// More than one row of Marketing.
    Duplicated,
}

/// Customers sorted by id. Each takes 18 bytes, because a large loss makes them many.
#[derive(Debug, Default)]
pub(super) struct Unaccounted {
    ids: Vec<Uuid>,
    locations: Vec<Option<Location>>,
    /// The number of customers without a location.
    remaining: usize,
    reasons: Vec<String>,
}

impl Unaccounted {
    /// Adds a customer. The ids must ascend.
    pub(super) fn push(&mut self, id: Uuid) {
        self.ids.push(id);
        self.locations.push(None);
        self.remaining += 1;
    }

    /// Returns whether every customer has a location.
    pub(super) fn is_complete(&self) -> bool {
        self.remaining == 0
    }

    /// Returns up to `limit` ids after `after` that have no location.
    pub(super) fn without_location(&self, after: Uuid, limit: u32) -> Vec<Uuid> {
        let first = self.ids.partition_point(|id| *id <= after);
        let all = self.ids[first..].iter().zip(&self.locations[first..]);
        all.filter(|(_, location)| location.is_none()).map(|(id, _)| *id).take(limit as usize).collect()
    }

    /// Records the first location of a customer. Ignores customers that are not in this list.
    pub(super) fn locate(&mut self, id: Uuid, location: Location) {
        if let Ok(index) = self.ids.binary_search(&id)
            && self.locations[index].is_none()
        {
            self.locations[index] = Some(location);
            self.remaining -= 1;
        }
    }

    /// Returns the location for a reason of dead letters. After 255 reasons, the last stands for all others.
    pub(super) fn dead_letters(&mut self, reason: &str) -> Location {
        let existing = self.reasons.iter().position(|existing| existing == reason);
        let index = existing.unwrap_or_else(|| {
            if self.reasons.len() < usize::from(u8::MAX) {
                self.reasons.push(reason.to_owned());
            }
            self.reasons.len() - 1
        });
        Location::DeadLetters(u8::try_from(index).unwrap_or(u8::MAX))
    }

    /// Adds every customer to the report. A customer without a location is missing.
    pub(super) fn add_to(self, report: &mut Report) {
        for (id, location) in self.ids.into_iter().zip(self.locations) {
            match location {
                Some(Location::Outbox) => report.in_outbox += 1,
                Some(Location::Queue(index)) => {
                    *report.on_the_way.entry(QUEUES[usize::from(index)].name).or_default() += 1;
                }
                Some(Location::DeadLetters(index)) => {
                    let reason = self.reasons[usize::from(index)].clone();
                    *report.dead_lettered.entry(reason).or_default() += 1;
                }
                Some(Location::Marketing) => report.arrived += 1,
                Some(Location::Duplicated) => report.doubled_ids.push(id),
                None => report.missing_ids.push(id),
            }
        }
        report.missing = report.missing_ids.len() as u64;
        report.doubled = report.doubled_ids.len() as u64;
    }
}
