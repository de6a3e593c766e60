//! The result of each failover, and the table of all of them.

use std::fmt::Write;

use super::step::Step;
use crate::database_state::Database;

/// The result of one failover.
pub(super) struct Report {
    pub(super) step: Step,
    /// Registrations that the Web Store has confirmed.
    pub(super) confirmed: usize,
    pub(super) before_repair: Losses,
    pub(super) after_repair: Losses,
    /// Rows of Marketing whose customers the promoted Web Store does not have.
    pub(super) unknown: usize,
    /// The same rows, as `console reconcile` reports them.
    pub(super) reported_unknown: u64,
    /// Rows of Marketing beyond one for each customer.
    pub(super) doubled: usize,
    /// Changes that the Web Store has confirmed and that Marketing does not have. If the Web Store may lose changes,
    /// only those after the failure count.
    pub(super) outdated: usize,
    /// Seconds from the kill until the promoted server stored a row of a service.
    pub(super) recovered_in: f64,
    /// Seconds from the start of the console until both applications agreed.
    pub(super) repaired_in: f64,
}

/// The losses at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Losses {
    /// Confirmed registrations that the promoted database does not have.
    pub(super) customers: usize,
    /// Customers of the Web Store whose details differ between the applications.
    pub(super) changes: usize,
    /// Customers of the Web Store that Marketing does not have.
    pub(super) missing: usize,
}

impl Losses {
    const NONE: Self = Self { customers: 0, changes: 0, missing: 0 };
}

impl Report {
    /// Returns whether the losses are exactly those that the replication allows, and everything else is repaired.
    pub(super) fn is_right(&self) -> bool {
        let Self { before_repair: before, after_repair: after, .. } = self;
        let agree = after.changes + after.missing + self.doubled + self.outdated == 0;
        let counted = u64::try_from(self.unknown).is_ok_and(|unknown| unknown == self.reported_unknown);
        let losses = match (self.step.is_synchronous, self.step.database) {
            (true, _) => *before == Losses::NONE && *after == Losses::NONE && self.unknown == 0,
            // Without a loss, the check would prove nothing. Messages cannot bring these customers back.
            (false, Database::Postgres) => {
                before.customers > 0 && after.customers == before.customers && self.unknown > 0
            }
            (false, Database::Mysql) => before.customers > 0 && after.customers == 0 && self.unknown == 0,
        };
        agree && counted && losses
    }
}

/// Returns the results as a table. The columns are for scripts, so their names do not change.
pub(super) fn table(reports: &[Report]) -> String {
    let mut table = String::from(
        "| step | confirmed | lost | lost after repair | changes lost | after repair | only in Marketing | doubled \
         | outdated | recovered in | repaired in |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for report in reports {
        let Report { step, confirmed, before_repair: before, after_repair: after, unknown, .. } = report;
        let Report { doubled, outdated, recovered_in, repaired_in, .. } = report;
        let _ = writeln!(
            table,
            "| {step} | {confirmed} | {} | {} | {} | {} | {unknown} | {doubled} | {outdated} | {recovered_in:.1} s \
             | {repaired_in:.1} s |",
            before.customers, after.customers, before.changes, after.changes
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{super::step::Step, Losses, Report};

    /// Returns a report in which `lost` customers, and after the repair `left`, are missing in the database.
    fn report(step: Step, lost: usize, left: usize, unknown: usize) -> Report {
        let losses = |customers| Losses { customers, ..Losses::NONE };
        Report {
            step,
            confirmed: 100,
            before_repair: losses(lost),
            after_repair: losses(left),
            unknown,
            reported_unknown: unknown as u64,
            doubled: 0,
            outdated: 0,
            recovered_in: 1.0,
            repaired_in: 1.0,
        }
    }

    #[test]
    fn synchronous_replication_may_lose_nothing() {
        for step in Step::ALL.into_iter().filter(|step| step.is_synchronous) {
            assert!(report(step, 0, 0, 0).is_right());
            assert!(!report(step, 1, 0, 0).is_right());
            assert!(!report(step, 0, 0, 1).is_right());
        }
    }

    #[test]
    fn asynchronous_replication_must_lose_and_only_marketing_is_repaired() {
        let [_, postgres, _, mysql] = Step::ALL;
        assert!(report(postgres, 5, 5, 4).is_right() && report(mysql, 5, 0, 0).is_right());
        assert!(!report(postgres, 5, 0, 4).is_right() && !report(mysql, 5, 1, 0).is_right());
        assert!(!report(postgres, 0, 0, 0).is_right() && !report(mysql, 0, 0, 0).is_right());
        let uncounted = Report { reported_unknown: 3, ..report(postgres, 5, 5, 4) };
        assert!(!uncounted.is_right());
        let doubled = Report { doubled: 1, ..report(mysql, 5, 0, 0) };
        assert!(!doubled.is_right());
    }
}
