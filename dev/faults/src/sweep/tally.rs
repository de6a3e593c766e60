//! The outcomes of a sweep.

use std::{
    fmt::{self, Display, Formatter},
    iter::Sum,
};

use anyhow::ensure;

use crate::quiescence::CustomerState;

/// The number of points by outcome.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of visited points.
    pub points: u64,
    /// The number of points at which the link was cut.
    pub cut: u64,
    /// The number of points at which the service was killed.
    pub killed: u64,
    /// The number of points whose frame did not occur in that registration.
    pub passed_over: u64,
    /// The number of confirmed or stored customers without a row in Marketing.
    pub lost: u64,
    /// The number of customers with more than one row in Marketing.
    pub duplicated: u64,
}

/// A customer with a wrong number of rows in Marketing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    Lost,
    Duplicated,
}

impl Tally {
    /// Returns whether no customer was lost or duplicated, and nearly all frames occurred.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.cut + self.killed > 10 * self.passed_over
    }

    /// Counts the outcome for one customer.
    ///
    /// # Errors
    /// Returns an error if Marketing has a row, but the Web Store has not stored the customer.
    pub(super) fn check(
        &mut self,
        confirmed: bool,
        state: CustomerState,
    ) -> anyhow::Result<Option<Violation>> {
        let CustomerState { stored, rows, .. } = state;
        if rows > 1 {
            self.duplicated += 1;
            return Ok(Some(Violation::Duplicated));
        }
        if rows < stored || (confirmed && stored == 0) {
            self.lost += 1;
            return Ok(Some(Violation::Lost));
        }
        ensure!(rows == stored, "Marketing has a row, but the Web Store has not stored the customer");
        Ok(None)
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, tally| Self {
            points: sum.points + tally.points,
            cut: sum.cut + tally.cut,
            killed: sum.killed + tally.killed,
            passed_over: sum.passed_over + tally.passed_over,
            lost: sum.lost + tally.lost,
            duplicated: sum.duplicated + tally.duplicated,
        })
    }
}

impl Display for Tally {
    /// Writes one line. Scripts read its fields, so their names do not change.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { points, cut, killed, passed_over, lost, duplicated } = self;
        write!(
            f,
            "points={points} cut={cut} killed={killed} lost={lost} doubled={duplicated} \
             passed_over={passed_over}"
        )
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "LOST",
            Self::Duplicated => "DUPLICATED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn summary_contains_fields_for_scripts() {
        let tally = Tally { points: 6, cut: 3, killed: 2, passed_over: 1, lost: 4, duplicated: 5 };
        assert_eq!(tally.to_string(), "points=6 cut=3 killed=2 lost=4 doubled=5 passed_over=1");
        assert!(!tally.is_clean());
    }
}
