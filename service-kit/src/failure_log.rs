//! Log lines about a failing operation, in a number that does not grow with the number of failures.

use std::{
    fmt::Display,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The shortest time between a line about one operation and the next line about its failures.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Logs failures of one operation: the first one, a summary every ten seconds, and the recovery.
///
/// An outage fails every request, so one line per request would hide all other lines. If failures and
/// successes alternate, at most one line about failures and one about the recovery appear in ten seconds.
/// The next call after that time reports the failures that are not in the log yet.
///
/// Keep one value per operation, for example in a `static`.
#[derive(Debug)]
pub struct FailureLog {
    operation: &'static str,
    /// Whether a success must take the lock, because a recovery or a failure is not in the log yet.
    pending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_line: Option<Instant>,
    unreported: u64,
    /// Whether the log says that the operation fails.
    reported_failing: bool,
}

impl FailureLog {
    /// Returns the log of an operation, such as `registration`. Its lines start with this name.
    #[must_use]
    pub const fn new(operation: &'static str) -> Self {
        let state = State { last_line: None, unreported: 0, reported_failing: false };
        Self { operation, pending: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Counts a failure. The error appears in the log, so it must not contain personal data.
    pub fn failed(&self, error: &dyn Display) {
        if let Some(line) = self.failed_at(Instant::now(), error) {
            tracing::warn!("{line}");
        }
    }

    /// Notes a success. It costs one relaxed atomic load unless a failure came before.
    pub fn succeeded(&self) {
        if let Some(line) = self.succeeded_at(Instant::now) {
            tracing::info!("{line}");
        }
    }

    fn failed_at(&self, now: Instant, error: &dyn Display) -> Option<String> {
        let mut state = self.state();
        self.pending.store(true, Ordering::Relaxed);
        if state.is_recent(now) {
            state.unreported += 1;
            return None;
        }
        let more = state.take_summary(now);
        state.reported_failing = true;
        Some(format!("{} failed: {error}{more}", self.operation))
    }

    fn succeeded_at(&self, now: impl FnOnce() -> Instant) -> Option<String> {
        if !self.pending.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        let now = now();
        if !state.reported_failing && (state.unreported == 0 || state.is_recent(now)) {
            return None;
        }
        let more = state.take_summary(now);
        state.reported_failing = false;
        self.pending.store(false, Ordering::Relaxed);
        Some(format!("{} succeeds again{more}", self.operation))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_recent(&self, now: Instant) -> bool {
        self.last_line.is_some_and(|last_line| now < last_line + SUMMARY_INTERVAL)
    }

    /// Returns the part of a line that reports the failures since the last line, and resets them.
    fn take_summary(&mut self, now: Instant) -> String {
        let last_line = self.last_line.replace(now).unwrap_or(now);
        match std::mem::take(&mut self.unreported) {
            0 => String::new(),
            failures => {
                let seconds = now.saturating_duration_since(last_line).as_secs_f64().ceil();
                format!("; {failures} more failed in the last {seconds} s")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::FailureLog;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn outage_gives_one_line_per_ten_seconds_and_a_recovery() {
        let log = FailureLog::new("registration");
        let start = Instant::now();
        assert_eq!(log.failed_at(start, &"no reply").unwrap(), "registration failed: no reply");
        for n in 1..10 {
            assert_eq!(log.failed_at(start + n * SECOND, &"no reply"), None);
        }
        assert_eq!(
            log.failed_at(start + 10 * SECOND, &"refused").unwrap(),
            "registration failed: refused; 9 more failed in the last 10 s"
        );
        assert_eq!(log.failed_at(start + 11 * SECOND, &"refused"), None);
        assert_eq!(
            log.succeeded_at(|| start + 12 * SECOND).unwrap(),
            "registration succeeds again; 1 more failed in the last 2 s"
        );
        assert_eq!(log.succeeded_at(|| start + 13 * SECOND), None);
    }

    #[test]
    fn success_without_failure_does_not_read_the_clock() {
        let log = FailureLog::new("registration");
        assert_eq!(log.succeeded_at(|| unreachable!()), None);
        log.failed_at(Instant::now(), &"no reply");
        assert!(log.succeeded_at(Instant::now).is_some());
        assert_eq!(log.succeeded_at(|| unreachable!()), None);
    }

    #[test]
    fn alternating_results_give_few_lines_and_lose_no_failure() {
        let log = FailureLog::new("registration");
        let start = Instant::now();
        let mut lines = Vec::new();
        for n in 0..200 {
            lines.extend(log.failed_at(start + n * SECOND / 10, &"no reply"));
            lines.extend(log.succeeded_at(|| start + n * SECOND / 10));
        }
        lines.extend(log.succeeded_at(|| start + 60 * SECOND));
        assert!(lines.len() <= 6, "{lines:?}");
        let more = |line: &String| Some(line.split_once("; ")?.1.split_once(' ')?.0.parse::<u32>().unwrap());
        let failed = lines.iter().filter(|line| line.contains("failed: ")).count();
        let counted: u32 = lines.iter().filter_map(more).sum();
        assert_eq!(counted + u32::try_from(failed).unwrap(), 200, "{lines:?}");
    }
}
