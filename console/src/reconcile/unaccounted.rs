//! Who was neither in the outbox nor at Marketing's when the lists were compared, and what became of them.

use uuid::Uuid;

use super::Report;

/// Where somebody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Outbox,
    /// One of [`contracts::topology::QUEUES`].
    Queue(u8),
    /// One of the reasons that were heard.
    DeadLetters(u8),
    Marketing,
    /// At Marketing's, more than once.
    Doubled,
}

/// People by id, in its order: 18 bytes each, since after a great loss there are many.
#[derive(Debug, Default)]
pub(super) struct Unaccounted {
    ids: Vec<Uuid>,
    places: Vec<Option<Place>>,
    nowhere: usize,
    reasons: Vec<String>,
}

impl Unaccounted {
    /// Adds somebody; ids come in ascending order.
    pub(super) fn push(&mut self, id: Uuid) {
        self.ids.push(id);
        self.places.push(None);
        self.nowhere += 1;
    }

    /// Whether everybody has been found.
    pub(super) fn all_found(&self) -> bool {
        self.nowhere == 0
    }

    /// Up to `most` ids that are nowhere yet, after `after`.
    pub(super) fn nowhere(&self, after: Uuid, most: u32) -> Vec<Uuid> {
        let first = self.ids.partition_point(|id| *id <= after);
        let all = self.ids[first..].iter().zip(&self.places[first..]);
        all.filter(|(_, place)| place.is_none()).map(|(id, _)| *id).take(most as usize).collect()
    }

    /// Notes where somebody is. Whoever is no candidate, or was found before, is left as they are.
    pub(super) fn found(&mut self, id: Uuid, place: Place) {
        if let Ok(n) = self.ids.binary_search(&id)
            && self.places[n].is_none()
        {
            self.places[n] = Some(place);
            self.nowhere -= 1;
        }
    }

    /// A reason's place. There are few; should there be more than fit, the last stands for the rest.
    pub(super) fn dead_letters(&mut self, reason: &str) -> Place {
        let known = self.reasons.iter().position(|known| known == reason);
        let n = known.unwrap_or_else(|| {
            if self.reasons.len() < usize::from(u8::MAX) {
                self.reasons.push(reason.to_owned());
            }
            self.reasons.len() - 1
        });
        Place::DeadLetters(u8::try_from(n).unwrap_or(u8::MAX))
    }

    /// Adds everybody to the report. Who is still nowhere is missing.
    pub(super) fn tell(self, report: &mut Report) {
        for (id, place) in self.ids.into_iter().zip(self.places) {
            match place {
                Some(Place::Outbox) => report.in_outbox += 1,
                Some(Place::Queue(n)) => {
                    let queue = contracts::topology::QUEUES[usize::from(n)].name;
                    *report.on_the_way.entry(queue).or_default() += 1;
                }
                Some(Place::DeadLetters(n)) => {
                    let reason = self.reasons[usize::from(n)].clone();
                    *report.dead_lettered.entry(reason).or_default() += 1;
                }
                Some(Place::Marketing) => report.arrived += 1,
                Some(Place::Doubled) => report.doubled_ids.push(id),
                None => report.missing_ids.push(id),
            }
        }
        report.missing = report.missing_ids.len() as u64;
        report.doubled = report.doubled_ids.len() as u64;
    }
}
