//! The number of customers, counted as often as the database can afford.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use service_kit::FailureLog;
use tokio::{sync::Semaphore, time::timeout};

use crate::list::{Counts, CustomerList};

/// A count stays fresh for this multiple of the time that it took. While pages are requested, counting
/// therefore takes at most a twentieth of one connection's time.
const FRESHNESS_FACTOR: u32 = 20;

/// Time that a page waits for a count. With up to some ten thousand rows, a page shows a new count.
const PAGE_WAIT: Duration = Duration::from_millis(20);

static COUNTS: FailureLog = FailureLog::new("count of customers");

/// The result of one count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountSnapshot {
    /// Numbers from one query, so they are consistent with each other.
    pub(crate) counts: Counts,
    /// Time at which the count started.
    pub(crate) at: DateTime<Utc>,
    took: Duration,
    fresh_until: Instant,
}

/// The latest count, renewed on request when it is no longer fresh.
///
/// The alternative is a row with the totals that each batch updates. With that row, all instances of Marketing
/// would wait for each other's commits.
#[derive(Debug)]
pub(crate) struct CountCache {
    list: CustomerList,
    latest: Mutex<Option<CountSnapshot>>,
    /// One permit, so that one count runs at a time.
    counting: Arc<Semaphore>,
}

impl CountCache {
    /// Returns a cache without a count.
    pub(crate) fn new(list: CustomerList) -> Self {
        Self { list, latest: Mutex::default(), counting: Arc::new(Semaphore::new(1)) }
    }

    /// Returns the latest count, or `None` before the first one. Starts a new count if the latest is not fresh.
    pub(crate) async fn latest(self: &Arc<Self>) -> Option<CountSnapshot> {
        let latest = self.cached();
        if latest.is_none_or(|latest| latest.fresh_until < Instant::now())
            && let Ok(permit) = Arc::clone(&self.counting).try_acquire_owned()
        {
            let cache = Arc::clone(self);
            let counting = tokio::spawn(async move {
                cache.count().await;
                drop(permit);
            });
            if latest.is_none_or(|latest| latest.took < PAGE_WAIT) {
                let _ = timeout(PAGE_WAIT, counting).await;
            }
        }
        self.cached()
    }

    async fn count(&self) {
        let at = Utc::now();
        let start = Instant::now();
        match self.list.count().await {
            Ok(counts) => {
                let took = start.elapsed();
                let fresh_until = Instant::now() + took * FRESHNESS_FACTOR;
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(CountSnapshot { counts, at, took, fresh_until });
                COUNTS.succeeded();
            }
            Err(error) => COUNTS.failed(&error),
        }
    }

    fn cached(&self) -> Option<CountSnapshot> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
