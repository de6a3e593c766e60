//! How many customers there are, counted as often as it can be afforded.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::{sync::Semaphore, time::timeout};

use crate::list::{Counts, List};

/// A count is as good as new for so many times as long as it took: counting then takes at most a
/// twentieth of one connection's time, while somebody looks.
const PATIENCE: u32 = 20;

/// How long a page waits for a count. Up to some ten thousand rows it is always the newest.
const WAIT: Duration = Duration::from_millis(20);

/// What was counted, and when.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The result: one query's, so the two numbers fit together.
    pub counts: Counts,
    /// When the counting began.
    pub at: DateTime<Utc>,
    took: Duration,
    good_until: Instant,
}

/// Counts when asked, though not each time.
///
/// The alternative, a row with the totals that each batch updates, would have all instances of Marketing
/// wait for each other's commits.
#[derive(Debug)]
pub struct Totals {
    list: List,
    last: Mutex<Option<Counted>>,
    one_at_a_time: Arc<Semaphore>,
}

impl Totals {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(list: List) -> Self {
        Self { list, last: Mutex::default(), one_at_a_time: Arc::new(Semaphore::new(1)) }
    }

    /// The newest count, which may be on its way: then it is the one before, or `None`.
    pub async fn newest(self: &Arc<Self>) -> Option<Counted> {
        let last = self.last();
        if last.is_none_or(|last| last.good_until < Instant::now())
            && let Ok(turn) = Arc::clone(&self.one_at_a_time).try_acquire_owned()
        {
            let totals = Arc::clone(self);
            let counting = tokio::spawn(async move {
                totals.count().await;
                drop(turn);
            });
            if last.is_none_or(|last| last.took < WAIT) {
                let _ = timeout(WAIT, counting).await;
            }
        }
        self.last()
    }

    async fn count(&self) {
        let (at, began) = (Utc::now(), Instant::now());
        match self.list.count().await {
            Ok(counts) => {
                let took = began.elapsed();
                let good_until = Instant::now() + took * PATIENCE;
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Counted { counts, at, took, good_until });
            }
            Err(error) => tracing::warn!("could not count the customers: {error}"),
        }
    }

    fn last(&self) -> Option<Counted> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
