//! The delay before a retry: exponential backoff with jitter.

use std::time::Duration;

const INITIAL_DELAY: Duration = Duration::from_millis(100);

/// Short enough that every service recovers within seconds of its server's return.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The growing delays of one series of failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: INITIAL_DELAY }
    }
}

impl Backoff {
    /// The longest possible delay.
    pub const MAX_DELAY: Duration = MAX_DELAY;

    /// Returns the next delay, between half of a ceiling and the ceiling.
    ///
    /// The ceiling doubles from 100 ms up to 5 s. The jitter prevents instances that failed together from
    /// retrying together.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling.mul_f64(rand::random_range(0.5..=1.0));
        self.ceiling = (self.ceiling * 2).min(MAX_DELAY);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, INITIAL_DELAY, MAX_DELAY};

    #[test]
    fn delays_grow_to_maximum_and_are_never_zero() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= INITIAL_DELAY);
        assert!(delays.iter().all(|delay| *delay >= INITIAL_DELAY / 2 && *delay <= MAX_DELAY));
        assert!(delays[10..].iter().all(|delay| *delay >= MAX_DELAY / 2));
    }
}
