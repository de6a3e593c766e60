//! The objective: 99.9 % of the customers who register are in Marketing within 5 seconds.
//!
//! The page compares the times in both databases, so it needs no monitoring system. The last hour counts, by minutes.

use std::collections::VecDeque;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// A registration that arrives later is late.
pub(super) const LIMIT: TimeDelta = TimeDelta::seconds(5);

/// The part of the registrations that may be late.
const BUDGET: f64 = 0.001;

/// The period that counts.
pub(super) const PERIOD: TimeDelta = TimeDelta::hours(1);

/// The registrations of the last hour.
#[derive(Debug, Default)]
pub(super) struct Objective {
    minutes: VecDeque<Minute>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    start: DateTime<Utc>,
    tally: Tally,
}

/// Registrations, and how many of them were late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The registrations that were compared.
    pub(super) compared: u64,
    pub(super) late: u64,
    /// Whether there were more registrations than the page compares.
    pub(super) is_sample: bool,
}

impl Objective {
    /// Adds a registration, and whether it was late.
    pub(super) fn add(&mut self, registered_at: DateTime<Utc>, is_late: bool) {
        let tally = self.minute(registered_at);
        tally.compared += 1;
        tally.late += u64::from(is_late);
    }

    /// Notes that registrations of this time are not compared, because there are too many.
    pub(super) fn skip(&mut self, registered_at: DateTime<Utc>) {
        self.minute(registered_at).is_sample = true;
    }

    /// Returns the tally of the minute. Registrations come in about the order of their times.
    fn minute(&mut self, time: DateTime<Utc>) -> &mut Tally {
        let start = time.duration_trunc(TimeDelta::minutes(1)).unwrap_or(time);
        let index = match self.minutes.binary_search_by_key(&start, |minute| minute.start) {
            Ok(index) => index,
            Err(index) => {
                self.minutes.insert(index, Minute { start, tally: Tally::default() });
                index
            }
        };
        &mut self.minutes[index].tally
    }

    /// Returns the registrations of the last hour, and forgets the older ones.
    pub(super) fn last_hour(&mut self, now: DateTime<Utc>) -> Tally {
        let is_over = |minute: &Minute| minute.start < now - PERIOD;
        while self.minutes.front().is_some_and(is_over) {
            self.minutes.pop_front();
        }
        let sum = |sum: Tally, minute: &Minute| Tally {
            compared: sum.compared + minute.tally.compared,
            late: sum.late + minute.tally.late,
            is_sample: sum.is_sample || minute.tally.is_sample,
        };
        self.minutes.iter().fold(Tally::default(), sum)
    }
}

impl Tally {
    /// Returns the number of registrations that may be late, rounded down.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is positive and small"
    )]
    pub(super) fn budget(self) -> u64 {
        (super::format::float(self.compared) * BUDGET) as u64
    }

    /// Returns whether the objective is met.
    pub(super) fn is_met(self) -> bool {
        self.late <= self.budget()
    }

    /// Returns the part that was in time, such as `99.95`, in percent. It is rounded down, so only `100` means all.
    /// Returns `None` without registrations.
    pub(super) fn percentage(self) -> Option<String> {
        if self.compared == 0 {
            return None;
        }
        let hundredths = u128::from(self.compared - self.late) * 10_000 / u128::from(self.compared);
        Some(match (hundredths / 100, hundredths % 100) {
            (whole, 0) => whole.to_string(),
            (whole, part) => format!("{whole}.{part:02}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::{Objective, Tally};

    #[test]
    fn only_last_hour_counts() {
        let mut objective = Objective::default();
        let now = Utc::now();
        objective.add(now - TimeDelta::minutes(59), true);
        objective.add(now, false);
        objective.skip(now);
        objective.add(now - TimeDelta::minutes(10), false);
        assert_eq!(objective.last_hour(now), Tally { compared: 3, late: 1, is_sample: true });
        let later = now + TimeDelta::minutes(5);
        assert_eq!(objective.last_hour(later), Tally { compared: 2, late: 0, is_sample: true });
        assert_eq!(objective.last_hour(later + TimeDelta::hours(2)), Tally::default());
    }

    #[test]
    fn percentage_is_rounded_down() {
        let tally = |compared, late| Tally { compared, late, is_sample: false };
        assert_eq!(tally(0, 0).percentage(), None);
        assert_eq!(tally(100_000, 1).percentage().as_deref(), Some("99.99"));
        assert_eq!(tally(3, 0).percentage().as_deref(), Some("100"));
        assert_eq!(tally(2000, 100).percentage().as_deref(), Some("95"));
        assert_eq!([999, 1000, 1999, 2000].map(|compared| tally(compared, 0).budget()), [0, 1, 1, 2]);
        assert!(tally(1000, 1).is_met() && !tally(1000, 2).is_met() && tally(10, 0).is_met());
    }
}
