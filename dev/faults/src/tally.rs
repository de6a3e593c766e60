//! What came of every frame.

use std::fmt::{self, Display, Formatter};

/// What came of all points.
#[derive(Debug, Default)]
pub struct Tally {
    /// The points that were tried.
    pub points: u64,
    /// How often a link was cut.
    pub cut: u64,
    /// How often a service was killed.
    pub killed: u64,
    /// Points whose message did not come this time.
    pub passed_over: u64,
    /// Customers who were told, or saved, and have no row in Marketing.
    pub lost: u64,
    /// Customers who have more than one.
    pub doubled: u64,
}

impl Tally {
    /// Nobody was lost or doubled, and most faults took place.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        (self.lost, self.doubled) == (0, 0) && self.cut + self.killed > 10 * self.passed_over
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { points, cut, killed, passed_over, lost, doubled } = self;
        write!(
            f,
            "points={points} cut={cut} killed={killed} lost={lost} doubled={doubled} passed_over={passed_over}"
        )
    }
}
