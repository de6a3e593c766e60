//! How long to wait before trying again: exponential, with jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// Short enough that everything has recovered within seconds of its server's return.
const LONGEST: Duration = Duration::from_secs(5);

/// The growing delays of one row of failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// The longest delay that there is.
    pub const LONGEST: Duration = LONGEST;

    /// The next delay: between half and all of a ceiling that doubles from 100 ms up to 5 s. The
    /// jitter keeps instances that failed together from coming back together.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling.mul_f64(rand::random_range(0.5..=1.0));
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST, LONGEST};

    #[test]
    fn delays_grow_up_to_a_limit_and_never_vanish() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= FIRST);
        assert!(delays.iter().all(|delay| *delay >= FIRST / 2 && *delay <= LONGEST));
        assert!(delays[10..].iter().all(|delay| *delay >= LONGEST / 2));
    }
}
