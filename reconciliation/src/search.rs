//! The search for customers that differ between both tables, in the order in which messages move: outbox, queues, dead
//! letters, Marketing.

use std::{collections::HashSet, time::Duration};

use readers::{marketing::Marketing, web_store::WebStore};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    comparison::compare_customers, dead_letters, flow::Flow, report::DeadLetterCounts, sources::Sources,
    unlocated::Window,
};

/// Delays before the outbox is read. On a healthy system all customers arrive meanwhile.
const INITIAL_DELAYS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
];

/// The first and the longest interval between two readings of Marketing's table.
const READ_INTERVAL: Duration = Duration::from_secs(1);
const MAX_READ_INTERVAL: Duration = Duration::from_secs(8);

/// Searches the customers of one window after the other.
pub struct Search<'a> {
    sources: &'a Sources,
    flow: watch::Receiver<Flow>,
    /// The remaining time of waiting for evidence in this run.
    patience: Duration,
}

impl<'a> Search<'a> {
    /// Returns a search that waits for evidence up to the patience of `sources`. It reads the observations in `flow`.
    #[must_use]
    pub fn new(sources: &'a Sources, flow: watch::Receiver<Flow>) -> Self {
        Self { sources, flow, patience: sources.patience }
    }

    /// Returns the last observation of the queues.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.flow.borrow().clone()
    }

    /// Waits for the first observation of the queues.
    pub async fn wait_for_observation(&mut self) {
        // The sender lives as long as the search.
        let _ = self.flow.wait_for(|flow| !flow.queues.is_empty()).await;
    }

    /// Waits until all consumers report the messages that they hold, for up to `limit`.
    pub async fn wait_for_reports(&mut self, limit: Duration) {
        let _ = timeout(limit, self.flow.wait_for(Flow::is_observable)).await;
    }

    /// Searches the customers of a window. Returns whether all messages that had left the outbox before have passed the
    /// queues, and the number of dead letters.
    pub(crate) async fn locate(
        &mut self,
        window: &mut Window,
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<(bool, DeadLetterCounts)> {
        let passed = self.follow(window, web_store, marketing).await?;
        let dead_letters = dead_letters::read(self.sources, |letter| window.dead_letter(letter)).await?;
        self.compare_again(window, web_store, marketing).await?;
        Ok((passed, dead_letters))
    }

    /// Follows the messages of a window through the outbox and the queues. Returns whether all messages that had left
    /// the outbox before have passed the queues. The dead letters are read next.
    ///
    /// # Errors
    /// Returns an error if a database cannot be read.
    pub async fn follow(
        &mut self,
        window: &mut Window,
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<bool> {
        for delay in INITIAL_DELAYS {
            if window.is_complete() {
                break;
            }
            sleep(delay).await;
            self.read_marketing(window, marketing).await?;
        }
        self.read_web_store(window, web_store).await?;
        let left_outbox = Instant::now();
        self.wait_for_passage(left_outbox, window, marketing).await
    }

    /// Compares the window again, after the dead letters. A message that has moved on meanwhile is found here.
    ///
    /// # Errors
    /// Returns an error if a database cannot be read.
    pub async fn compare_again(
        &self,
        window: &mut Window,
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<()> {
        self.read_marketing(window, marketing).await?;
        self.read_newer(window, web_store).await
    }

    /// Waits until the messages have passed the queues, until all customers have arrived, or until patience ends.
    /// Returns whether the messages have passed.
    async fn wait_for_passage(
        &mut self,
        left_outbox: Instant,
        window: &mut Window,
        marketing: &mut Marketing,
    ) -> anyhow::Result<bool> {
        let mut read_interval = READ_INTERVAL;
        while !window.is_complete() {
            let start = Instant::now();
            let limit = read_interval.min(self.patience);
            let passage = self.flow.wait_for(|flow| flow.has_passed(left_outbox));
            if let Ok(Ok(_)) = timeout(limit, passage).await {
                return Ok(true);
            }
            if self.patience.is_zero() {
                return Ok(false);
            }
            self.read_marketing(window, marketing).await?;
            self.patience = self.patience.saturating_sub(start.elapsed());
            read_interval = (read_interval * 2).min(MAX_READ_INTERVAL);
        }
        Ok(true)
    }

    async fn read_marketing(&self, window: &mut Window, marketing: &mut Marketing) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = window.open(after, self.sources.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            let versions: Vec<_> = ids.iter().filter_map(|id| Some((*id, window.version(*id)?))).collect();
            compare_customers(marketing, &versions, |id, comparison| window.compare(id, comparison)).await?;
        }
    }

    /// Notes the current versions, and the customers whose events are in the outbox.
    async fn read_web_store(&self, window: &mut Window, web_store: &mut WebStore) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = window.open(after, self.sources.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            // The relay may send the earlier event first, so it is read first.
            let earlier: HashSet<Uuid> = web_store.with_earlier_event(&ids).await?.into_iter().collect();
            for customer in web_store.read(&ids).await? {
                window.update(&customer);
            }
            for id in earlier {
                window.earlier_event(id);
            }
        }
    }

    /// Reads the Web Store again for the customers of which Marketing has a newer version.
    async fn read_newer(&self, window: &mut Window, web_store: &mut WebStore) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = window.newer_in_marketing(after, self.sources.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            for customer in web_store.read(&ids).await? {
                window.confirm_ahead(&customer);
            }
        }
    }
}
