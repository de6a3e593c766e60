//! The result of a health check, shared by all requests of one second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

/// Age up to which a result serves further requests.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A check that runs at most once per interval, regardless of the number of requests.
///
/// Requests that arrive during a check wait for its result. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedCheck<C> {
    check: C,
    interval: Duration,
    latest: Arc<Mutex<Option<CheckResult>>>,
}

#[derive(Debug)]
struct CheckResult {
    at: Instant,
    problem: Option<String>,
}

impl<C, F> SharedCheck<C>
where
    C: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<String>> + Send,
{
    /// Returns a check that has not run yet. The check returns a problem, or `None`.
    pub(crate) fn new(interval: Duration, check: C) -> Self {
        Self { check, interval, latest: Arc::default() }
    }

    /// Returns the problem, or `None` if there is none.
    ///
    /// The check runs in a task of its own, so a client that closes its connection does not interrupt it.
    pub(crate) async fn problem(&self) -> Option<String> {
        let shared = self.clone();
        let checked = tokio::spawn(async move { shared.latest_or_check().await });
        checked.await.unwrap_or_else(|_| Some("the check failed".to_owned()))
    }

    async fn latest_or_check(&self) -> Option<String> {
        let mut latest = self.latest.lock().await;
        if let Some(result) = &*latest
            && result.at.elapsed() < self.interval
        {
            return result.problem.clone();
        }
        let problem = (self.check)().await;
        *latest = Some(CheckResult { at: Instant::now(), problem: problem.clone() });
        problem
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use futures_util::{FutureExt, future::join_all};
    use tokio::task::yield_now;

    use super::SharedCheck;

    fn counting(interval: Duration) -> (SharedCheck<impl Fn() -> CheckFuture + Clone>, Arc<AtomicUsize>) {
        let checks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&checks);
        let check = move || -> CheckFuture {
            let counter = Arc::clone(&counter);
            Box::pin(async move {
                counter.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
                Some("refused".to_owned())
            })
        };
        (SharedCheck::new(interval, check), checks)
    }

    type CheckFuture = std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>>;

    #[tokio::test]
    async fn simultaneous_requests_share_one_check() {
        let (check, checks) = counting(Duration::from_hours(1));
        // A request whose client is gone does not interrupt the check.
        assert!(check.problem().now_or_never().is_none());
        let problems = join_all((0..1000).map(|_| check.problem())).await;
        assert!(problems.iter().all(|problem| problem.as_deref() == Some("refused")));
        assert_eq!(checks.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn old_result_is_checked_again() {
        let (check, checks) = counting(Duration::ZERO);
        check.problem().await;
        check.problem().await;
        assert_eq!(checks.load(Ordering::Relaxed), 2);
    }
}
