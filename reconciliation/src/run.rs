//! One run of reconciliation: every customer of the Web Store gets exactly one state.

use std::{io, mem, time::Duration};

use readers::{
    marketing::Marketing,
    web_store::{self, WebStore},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    comparison::{Comparison, compare_page, not_forgotten},
    flow::{self, Flow},
    report::{Report, State},
    search::Search,
    sources::Sources,
    unlocated::Window,
};

/// Receives the states of customers and the progress of a run. By default, each method does nothing.
pub trait Observer {
    /// Returns whether the run should read the number of customers for [`Observer::expect`].
    fn shows_progress(&self) -> bool {
        false
    }

    /// Notes the approximate number of customers.
    fn expect(&mut self, _customers: u64) {}

    /// Notes the state of one customer.
    ///
    /// # Errors
    /// Returns an error if the run should end.
    fn add(&mut self, _id: Uuid, _state: State) -> io::Result<()> {
        Ok(())
    }

    /// Notes the report as it is after a page of customers.
    fn report_progress(&mut self, _report: &Report) {}
}

/// Observes nothing.
impl Observer for () {}

/// Returns the state of every customer of the Web Store.
///
/// # Errors
/// Returns an error if a database or a broker cannot be read.
pub async fn reconcile(sources: &Sources) -> anyhow::Result<Report> {
    reconcile_observed(sources, &mut ()).await
}

/// Returns the state of every customer of the Web Store, and passes each state and the progress to `observer`.
///
/// # Errors
/// Returns an error if a database or a broker cannot be read, or the error of `observer`.
pub async fn reconcile_observed(sources: &Sources, observer: &mut impl Observer) -> anyhow::Result<Report> {
    let flow = watch::Sender::new(Flow::default());
    let search = Search::new(sources, flow.subscribe());
    let run = async {
        let run = Run {
            web_store: WebStore::connect(&sources.connections.web_store_database_url).await?,
            marketing: Marketing::connect(&sources.connections.marketing_database_url).await?,
            page: sources.page,
            search,
            window: Window::default(),
            erased: Vec::new(),
            patience: sources.patience,
            report: Report::default(),
            observer,
        };
        run.compare().await
    };
    tokio::select! {
        report = Box::pin(run) => report,
        result = Box::pin(flow::monitor(sources, &flow)) => match result? {},
    }
}

/// One run of reconciliation. Its memory is one page and one window, independent of the number of customers.
struct Run<'a, O> {
    web_store: WebStore,
    marketing: Marketing,
    page: u32,
    search: Search<'a>,
    /// Customers that differ. Their states follow when the window is full, and at the end.
    window: Window,
    /// Customers that the Web Store has erased, and that Marketing has not forgotten.
    erased: Vec<Uuid>,
    /// The longest wait for erasures.
    patience: Duration,
    report: Report,
    observer: &'a mut O,
}

/// The interval between two readings of the rows of erased customers.
const ERASURE_INTERVAL: Duration = Duration::from_millis(500);

impl<O: Observer> Run<'_, O> {
    /// Compares both tables page by page.
    async fn compare(mut self) -> anyhow::Result<Report> {
        if self.observer.shows_progress() {
            self.observer.expect(self.web_store.approximate_count().await?);
        }
        self.search.wait_for_observation().await;
        let mut after = Uuid::nil();
        loop {
            let last = self.compare_page(after).await?;
            self.observer.report_progress(&self.report);
            if self.window.is_full() {
                self.settle().await?;
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        // At the end also without customers that differ, for the number of dead letters.
        self.settle().await?;
        for id in self.wait_for_erasures().await? {
            self.report.add(id, State::NotForgotten, None);
            self.observer.add(id, State::NotForgotten)?;
        }
        self.report.queues = self.search.flow().queues;
        Ok(self.report)
    }

    /// Waits until Marketing has forgotten the customers that the Web Store has erased, for up to the patience. Returns
    /// those that it still has.
    async fn wait_for_erasures(&mut self) -> anyhow::Result<Vec<Uuid>> {
        let deadline = Instant::now() + self.patience;
        let mut remaining = mem::take(&mut self.erased);
        while !remaining.is_empty() {
            remaining = not_forgotten(&mut self.marketing, &remaining).await?;
            if Instant::now() >= deadline {
                break;
            }
            sleep(ERASURE_INTERVAL).await;
        }
        Ok(remaining)
    }

    /// Compares one page, and returns its last id unless it is the last page.
    async fn compare_page(&mut self, after: Uuid) -> anyhow::Result<Option<Uuid>> {
        let customers = self.web_store.page(after, Uuid::max(), self.page).await?;
        // The last page of the Web Store is compared with all remaining rows of Marketing.
        let last = customers.last().map(|customer| customer.id);
        let last = last.filter(|_| customers.len() == self.page as usize);
        let mut states = Vec::new();
        let window = &mut self.window;
        let visit = |customer: &web_store::Customer, comparison: Comparison| match comparison {
            Comparison::Arrived => states.push((customer.id, State::Arrived)),
            Comparison::Duplicated => states.push((customer.id, State::Duplicated)),
            Comparison::Forgotten => states.push((customer.id, State::Forgotten)),
            Comparison::Different { .. } if customer.in_outbox => states.push((customer.id, State::InOutbox)),
            Comparison::Different { marketing } => window.push(customer, marketing),
        };
        let range = (after, last);
        let unmatched =
            compare_page(&mut self.web_store, &mut self.marketing, range, &customers, visit).await?;
        self.report.unknown_rows += unmatched.unknown;
        self.erased.extend(unmatched.erased);
        self.report.customers += customers.len() as u64;
        for (id, state) in states {
            self.report.add(id, state, None);
            self.observer.add(id, state)?;
        }
        Ok(last)
    }

    /// Searches the customers of the window, and adds their states to the report.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let mut window = mem::take(&mut self.window);
        let (passed, dead_letters) =
            self.search.locate(&mut window, &mut self.web_store, &mut self.marketing).await?;
        self.report.dead_letters = dead_letters;
        self.report.queues = self.search.flow().queues;
        for (id, state, reason) in window.finish(passed) {
            self.report.add(id, state, reason);
            self.observer.add(id, state)?;
        }
        Ok(())
    }
}
