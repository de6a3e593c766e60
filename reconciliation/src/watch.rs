//! `console reconcile --watch`: checks customers continuously, and requests replays of lost ones.
//!
//! Each check has three parts, and none of them grows with the tables:
//!
//! - All customers that registered or changed since the last check, by key range.
//! - One page of all customers, so that each customer is checked once in a while.
//! - The *suspects*: customers that differed in a check. When the flow shows that their messages have passed the queues,
//!   they are compared again. A suspect that still differs has lost its message.
//!
//! Both pages also show the erased customers that Marketing still has. They are compared again after a while.

mod erasures;
mod metrics;
mod replay;
mod suspects;

use std::{convert::Infallible, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::registry::Registry;
use readers::{
    marketing::Marketing,
    web_store::{Customer, WebStore, first_id, time},
};
use service_kit::{FailureLog, serve_metrics};
use tokio::{
    net::TcpListener,
    sync,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    comparison::{Comparison, compare_customers, compare_page, not_forgotten},
    dead_letters,
    flow::{self, Flow},
    report::State,
    sources::Sources,
};
use erasures::Erasures;
pub use metrics::{Check, Metrics};
use replay::{Lost, Replays};
use suspects::{Evidence, Suspects};

/// The interval between two checks. It also limits the requests for replays: each check sends up to one.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The interval between two pages of all customers: 10,000 customers in 5 s are 7 million in an hour.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// The age at which recent customers are checked. Nearly all have arrived by that age.
const LAG: TimeDelta = TimeDelta::seconds(10);

/// The part of the last check's period that is checked again, for transactions that have committed since.
const OVERLAP: TimeDelta = TimeDelta::seconds(5);

/// The first check begins with customers of this age. The scan finds older ones.
const HISTORY: TimeDelta = TimeDelta::minutes(10);

/// The maximum of suspects that are compared in one check.
const MAX_COMPARED: usize = 10_000;

/// Reading the dead letters disturbs operators who move them, and its load grows with their number.
const DEAD_LETTERS_INTERVAL: Duration = Duration::from_secs(10);

const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Checks customers continuously until shutdown. Requests replays of lost ones if `repair` is set. Serves the metrics.
///
/// A server that cannot be read is logged once, and then in summaries.
///
/// # Errors
/// Returns an error if the listener of the metrics fails.
pub async fn watch(
    sources: &Sources,
    repair: bool,
    (registry, metrics): (Registry, Metrics),
    metrics_listener: TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(repair, "watching the customers of both applications");
    let flow = sync::watch::Sender::new(Flow::default());
    let mut watcher = Watcher {
        sources,
        flow: flow.subscribe(),
        replays: repair.then(|| Replays::new(sources.connections.brokers.source())),
        tables: None,
        periods: None,
        scan: Scan { after: Uuid::nil(), next: Instant::now() },
        suspects: Suspects::default(),
        erasures: Erasures::default(),
        dead_letters_read: None,
        metrics: metrics.clone(),
    };
    let refresh = {
        let (sources, flow) = (sources.clone(), flow.clone());
        move || {
            let (metrics, sources, flow) = (metrics.clone(), sources.clone(), flow.clone());
            async move { metrics.refresh(&sources, &flow).await }
        }
    };
    tokio::select! {
        never = Box::pin(keep_monitoring(sources, &flow)) => match never {},
        never = Box::pin(watcher.run()) => match never {},
        served = serve_metrics(metrics_listener, registry, refresh, shutdown) => served,
    }
}

/// Observes the queues, and connects again after a failure.
async fn keep_monitoring(sources: &Sources, flow: &sync::watch::Sender<Flow>) -> Infallible {
    let failures = FailureLog::new("observing the queues");
    loop {
        let mut observations = flow.subscribe();
        let note_success = async {
            while observations.changed().await.is_ok() {
                failures.succeeded();
            }
        };
        tokio::select! {
            result = flow::monitor(sources, flow) => match result {
                Ok(never) => match never {},
                Err(error) => failures.failed(&format_args!("{error:#}")),
            },
            () = note_success => {}
        }
        // Old observations are no evidence. The time of the last passage stays true.
        flow.send_if_modified(|flow| {
            flow.queues.clear();
            false
        });
        sleep(RETRY_DELAY).await;
    }
}

struct Watcher<'a> {
    sources: &'a Sources,
    flow: sync::watch::Receiver<Flow>,
    /// `None` if replays are disabled.
    replays: Option<Replays>,
    tables: Option<Tables>,
    periods: Option<Periods>,
    scan: Scan,
    suspects: Suspects,
    erasures: Erasures,
    dead_letters_read: Option<Instant>,
    metrics: Metrics,
}

struct Tables {
    web_store: WebStore,
    marketing: Marketing,
}

/// The ends of the checked periods, by the clock of the Web Store's database.
#[derive(Clone, Copy)]
struct Periods {
    registered: DateTime<Utc>,
    changed: DateTime<Utc>,
}

/// The position in the pages of all customers.
struct Scan {
    after: Uuid,
    next: Instant,
}

impl Watcher<'_> {
    async fn run(&mut self) -> Infallible {
        let failures = FailureLog::new("checking the customers");
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.check().await {
                Ok(()) => failures.succeeded(),
                Err(error) => failures.failed(&format_args!("{error:#}")),
            }
        }
    }

    /// Makes one check. After a failure, the next check connects again.
    async fn check(&mut self) -> anyhow::Result<()> {
        let mut tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::connect(self.sources).await?,
        };
        let now = tables.web_store.now().await?;
        self.check_registered(&mut tables, now - LAG).await?;
        self.check_changed(&mut tables, now - LAG).await?;
        self.scan(&mut tables).await?;
        let mut lost = self.compare_suspects(&mut tables).await?;
        lost.extend(self.compare_erasures(&mut tables).await?);
        self.tables = Some(tables);
        self.suspects.log_repaired();
        let repaired = self.repair(lost).await;
        self.metrics
            .checked(self.suspects.len() + self.erasures.len(), self.suspects.lost() + self.erasures.lost());
        repaired
    }

    fn periods(&mut self, until: DateTime<Utc>) -> Periods {
        let start = until - HISTORY;
        *self.periods.get_or_insert(Periods { registered: start, changed: start })
    }

    /// Checks the customers that have registered until `until`. Their ids are UUIDs of version 7, in the order of time.
    ///
    /// If there are too many suspects, the rest of the period follows later.
    async fn check_registered(&mut self, tables: &mut Tables, until: DateTime<Utc>) -> anyhow::Result<()> {
        let mut periods = self.periods(until);
        let mut after = first_id(periods.registered - OVERLAP);
        let end = first_id(until);
        while after < end && !self.suspects.is_full() {
            let page = tables.web_store.page(after, end, self.sources.page).await?;
            let is_last = page.len() < self.sources.page as usize;
            let last = page.last().filter(|_| !is_last).map_or(end, |customer| customer.id);
            self.compare_page(tables, after, last, &page).await?;
            after = last;
            periods.registered = if is_last { until } else { time(last).unwrap_or(periods.registered) };
            self.periods = Some(periods);
        }
        Ok(())
    }

    /// Checks the customers whose details have changed until `until`.
    async fn check_changed(&mut self, tables: &mut Tables, until: DateTime<Utc>) -> anyhow::Result<()> {
        let mut periods = self.periods(until);
        let mut after = (periods.changed - OVERLAP, Uuid::nil());
        while after.0 < until && !self.suspects.is_full() {
            let page = tables.web_store.changed(after, until, self.sources.page).await?;
            let read_at = Instant::now();
            let is_last = page.len() < self.sources.page as usize;
            let comparisons = tables.compare(&page).await?;
            for (customer, comparison) in page.iter().zip(comparisons) {
                self.suspects.note(customer, comparison, read_at);
            }
            let last = page.last().filter(|_| !is_last);
            after = last.map_or((until, Uuid::max()), |customer| (customer.since, customer.id));
            periods.changed = after.0;
            self.periods = Some(periods);
        }
        Ok(())
    }

    /// Checks the next page of all customers when it is due. After the last page follows the first one.
    ///
    /// The pages follow faster while they contain new suspects, because losses are often close to each other.
    async fn scan(&mut self, tables: &mut Tables) -> anyhow::Result<()> {
        let now = Instant::now();
        if now < self.scan.next || self.suspects.is_full() {
            return Ok(());
        }
        let after = self.scan.after;
        let page = tables.web_store.page(after, Uuid::max(), self.sources.page).await?;
        let suspects = self.suspects.len();
        if let Some(last) = page.last() {
            self.compare_page(tables, after, last.id, &page).await?;
        }
        let is_last = page.len() < self.sources.page as usize;
        self.scan.after = page.last().filter(|_| !is_last).map_or(Uuid::nil(), |customer| customer.id);
        let has_new_suspects = self.suspects.len() > suspects;
        self.scan.next = if has_new_suspects && !is_last { now } else { now + SCAN_INTERVAL };
        Ok(())
    }

    async fn compare_page(
        &mut self,
        tables: &mut Tables,
        after: Uuid,
        last: Uuid,
        page: &[Customer],
    ) -> anyhow::Result<()> {
        let read_at = Instant::now();
        let suspects = &mut self.suspects;
        let visit = |customer: &Customer, comparison| {
            suspects.note(customer, comparison, read_at);
        };
        let range = (after, Some(last));
        let unmatched =
            compare_page(&mut tables.web_store, &mut tables.marketing, range, page, visit).await?;
        self.erasures.note(unmatched.erased, read_at);
        Ok(())
    }

    /// Compares the erased customers that Marketing had. Returns those that it still has.
    async fn compare_erasures(&mut self, tables: &mut Tables) -> anyhow::Result<Vec<Lost>> {
        let due = self.erasures.due(Instant::now());
        let lost = not_forgotten(&mut tables.marketing, &due).await?;
        for id in due.into_iter().filter(|id| lost.binary_search(id).is_err()) {
            self.erasures.forgotten(id);
        }
        Ok(lost.into_iter().map(Lost::not_forgotten).collect())
    }

    /// Compares the suspects whose messages have passed the queues. Returns those that have lost their message.
    async fn compare_suspects(&mut self, tables: &mut Tables) -> anyhow::Result<Vec<Lost>> {
        let flow = self.flow.borrow().clone();
        let due = self.suspects.due(&flow, Instant::now(), MAX_COMPARED);
        let ids: Vec<Uuid> = due.iter().map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let customers = tables.web_store.read(&ids).await?;
        let read_at = Instant::now();
        let mut lost = Vec::new();
        for (customer, comparison) in customers.iter().zip(tables.compare(&customers).await?) {
            let evidence = self.suspects.note(customer, comparison, read_at);
            let Customer { id, version, .. } = *customer;
            let (state, marketing) = match comparison {
                Comparison::Arrived => continue,
                Comparison::Duplicated => (State::Duplicated, None),
                Comparison::Forgotten => (State::Forgotten, None),
                Comparison::Different { marketing: None } => (State::Missing, None),
                Comparison::Different { marketing: Some(other) } if other < version => {
                    (State::Behind, Some(other))
                }
                Comparison::Different { marketing } => (State::Ahead, marketing),
            };
            if evidence == Evidence::Kept {
                let requested_before = self.suspects.was_requested(id);
                lost.push(Lost { id, version, marketing, state, requested_before });
            }
        }
        self.suspects.remove_absent(&ids, &customers);
        self.confirm_ahead(tables, &mut lost).await?;
        self.remove_dead_lettered(lost).await
    }

    /// Removes the customers that have a newer version in the Web Store meanwhile.
    async fn confirm_ahead(&mut self, tables: &mut Tables, lost: &mut Vec<Lost>) -> anyhow::Result<()> {
        let ahead: Vec<Uuid> =
            lost.iter().filter(|lost| lost.state == State::Ahead).map(|lost| lost.id).collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let customers = tables.web_store.read(&ahead).await?;
        lost.retain(|lost| {
            let current = customers.binary_search_by_key(&lost.id, |customer| customer.id);
            lost.state != State::Ahead
                || current.is_ok_and(|index| Some(customers[index].version) < lost.marketing)
        });
        Ok(())
    }

    /// Removes the customers whose message is a dead letter. An operator decides about them, unless only a policy of
    /// the broker has moved the message.
    async fn remove_dead_lettered(&mut self, mut lost: Vec<Lost>) -> anyhow::Result<Vec<Lost>> {
        if lost.is_empty() {
            return Ok(lost);
        }
        let now = Instant::now();
        if self.dead_letters_read.is_some_and(|read| now < read + DEAD_LETTERS_INTERVAL) {
            // They stay suspects, and the next check finds them again.
            return Ok(Vec::new());
        }
        self.dead_letters_read = Some(now);
        let mut dead_lettered = Vec::new();
        let counts = dead_letters::read(self.sources, |letter| {
            let index = lost.binary_search_by_key(&letter.customer, |lost| lost.id);
            let explains = index.is_ok_and(|index| letter.explains(lost[index].version));
            if explains && letter.is_about_message() {
                dead_lettered.push(letter.customer);
            }
        })
        .await?;
        if counts.is_empty() {
            // Reading empty queues disturbs no operator.
            self.dead_letters_read = None;
        }
        dead_lettered.sort_unstable();
        dead_lettered.dedup();
        lost.retain(|lost| dead_lettered.binary_search(&lost.id).is_err());
        replay::log("dead-lettered customers wait for an operator", State::DeadLettered, &dead_lettered);
        self.suspects.pause(&dead_lettered, now);
        Ok(lost)
    }

    /// Requests a replay of up to `MAX_REPLAYED_CUSTOMERS` customers of one queue. The other ones stay suspects.
    async fn repair(&mut self, lost: Vec<Lost>) -> anyhow::Result<()> {
        let (duplicated, lost): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|lost| lost.state == State::Duplicated);
        self.pause("customers have more than one row; a replay cannot repair them", &duplicated);
        let (forgotten, lost): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|lost| lost.state == State::Forgotten);
        self.pause(
            "erased customers are back in the Web Store, after a restore; erase them again",
            &forgotten,
        );
        let Some(replays) = &self.replays else {
            self.pause("lost customers are not repaired, because replays are disabled", &lost);
            return Ok(());
        };
        let requested = replays.request(lost).await?;
        self.metrics.requested(&requested);
        self.pause("requested a replay of lost customers", &requested);
        let ids: Vec<Uuid> = requested.iter().map(|lost| lost.id).collect();
        self.suspects.replay_requested(&ids, Instant::now());
        Ok(())
    }

    /// Logs customers by their state, and pauses them.
    fn pause(&mut self, event: &str, customers: &[Lost]) {
        for state in [
            State::Missing,
            State::Behind,
            State::Ahead,
            State::Duplicated,
            State::Forgotten,
            State::NotForgotten,
        ] {
            let ids: Vec<Uuid> =
                customers.iter().filter(|lost| lost.state == state).map(|lost| lost.id).collect();
            replay::log(event, state, &ids);
            let now = Instant::now();
            if state == State::NotForgotten {
                self.erasures.pause(&ids, now);
            } else {
                self.suspects.note_lost(&ids);
                self.suspects.pause(&ids, now);
            }
        }
    }
}

impl Tables {
    async fn connect(sources: &Sources) -> anyhow::Result<Self> {
        Ok(Self {
            web_store: WebStore::connect(&sources.connections.web_store_database_url).await?,
            marketing: Marketing::connect(&sources.connections.marketing_database_url).await?,
        })
    }

    /// Returns the comparison of each customer with Marketing, in order.
    async fn compare(&mut self, customers: &[Customer]) -> anyhow::Result<Vec<Comparison>> {
        let versions: Vec<_> = customers.iter().map(|customer| (customer.id, customer.version)).collect();
        let mut comparisons = Vec::with_capacity(customers.len());
        let visit = |_, comparison| comparisons.push(comparison);
        compare_customers(&mut self.marketing, &versions, visit).await?;
        Ok(comparisons)
    }
}
