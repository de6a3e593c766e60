//! Reads the facts once a second, in the background.
//!
//! Each source has its own deadline, and a source that fails does not affect the others. Requests show the last
//! facts, so their time depends on no server.

mod alerts;
mod broker;
mod letters;
mod objective;

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use chrono::Utc;
use contracts::topology::{QUEUES, Queue};
use dead_letters::journal::Journal;
use futures_util::future::join_all;
use readers::{
    connections::Connections,
    marketing::Marketing,
    web_store::{ACTIVITY_PERIOD, WebStore},
};
use reconciliation::watch::Metrics;
use reqwest::Url;
use tokio::{
    join,
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use uuid::Uuid;

use super::{
    alerts::Alert,
    facts::{Facts, Letters, MarketingFacts, QueueFacts, Reading, WatchFacts, WebStoreFacts},
    format::float,
    history::QueueReading,
    objective::Tally,
    records::Records,
};

/// The interval of all sources.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time limit of one reading. The limit of its statements on the server is shorter.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
const STATEMENT_LIMIT: Duration = Duration::from_millis(2500);

/// The number of samples for a picture.
const SAMPLES: usize = 60;

/// The name that the journal shows for the page itself, which only reads.
const READER: &str = "console";

/// Reads the facts from all servers.
pub(super) struct Sampler {
    connections: Connections,
    watch: Metrics,
    repairs: bool,
    prometheus: Option<Url>,
    latest: Mutex<Latest>,
    /// Requests to read the dead letters again.
    letters_changed: Notify,
}

/// The last reading of each source.
struct Latest {
    web_store: Reading<WebStoreFacts>,
    marketing: Reading<MarketingFacts>,
    newest_arrived: Option<Uuid>,
    queues: BTreeMap<&'static str, Reading<Option<QueueReading>>>,
    dead_letters: BTreeMap<&'static str, u32>,
    letters: Reading<Letters>,
    journal: Reading<Arc<Records>>,
    objective: Reading<Tally>,
    alerts: Option<Reading<Vec<Alert>>>,
}

impl Sampler {
    pub(super) fn new(
        connections: Connections,
        watch: Metrics,
        repairs: bool,
        prometheus: Option<Url>,
    ) -> Self {
        let latest = Latest {
            web_store: not_read(),
            marketing: not_read(),
            newest_arrived: None,
            queues: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            letters: not_read(),
            journal: not_read(),
            objective: not_read(),
            alerts: prometheus.as_ref().map(|_| not_read()),
        };
        let latest = Mutex::new(latest);
        Self { connections, watch, repairs, prometheus, latest, letters_changed: Notify::new() }
    }

    /// Reads all sources, and passes the facts to `publish` once a second.
    pub(super) async fn run(&self, publish: impl Fn(Facts)) -> Infallible {
        let brokers = self.connections.brokers.all().map(|broker| self.read_broker(broker));
        let reading = async {
            join!(
                self.read_web_store(),
                self.read_marketing(),
                join_all(brokers),
                self.read_letters(),
                self.read_journal(),
                self.read_objective(),
                self.read_alerts(),
            )
        };
        let publishing = async {
            // The first reading of reachable servers takes less than this time.
            sleep(INTERVAL / 2).await;
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                publish(self.facts());
            }
        };
        tokio::select! {
            (never, ..) = Box::pin(reading) => match never {},
            () = publishing => unreachable!("the loop has no end"),
        }
    }

    /// Reads the dead letters again soon, because an operation has moved some.
    pub(super) fn letters_changed(&self) {
        self.letters_changed.notify_one();
    }

    /// Returns the facts of now.
    fn facts(&self) -> Facts {
        let latest = self.latest();
        let queue = |queue: &'static Queue| QueueFacts {
            queue,
            reading: latest.queues.get(queue.name).cloned().unwrap_or_else(not_read),
        };
        let check = self.watch.last_check();
        Facts {
            at: Utc::now(),
            web_store: latest.web_store.clone(),
            marketing: latest.marketing.clone(),
            queues: QUEUES.iter().map(queue).collect(),
            dead_letters: latest.dead_letters.clone(),
            letters: latest.letters.clone(),
            watch: WatchFacts {
                check_age: check.map(|check| check.at.elapsed()),
                differing: check.map_or(0, |check| check.differing as u64),
                lost: check.map_or(0, |check| check.lost as u64),
                repairs: self.repairs,
            },
            journal: latest.journal.clone(),
            objective: latest.objective.clone(),
            alerts: latest.alerts.clone(),
        }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_web_store(&self) -> Infallible {
        let connect = async || {
            let mut web_store = WebStore::connect(&self.connections.web_store_database_url).await?;
            web_store.limit_statements(STATEMENT_LIMIT).await?;
            Ok(web_store)
        };
        let mut past = Past::default();
        let read = async |web_store: &mut WebStore| {
            let newest_arrived = self.latest().newest_arrived;
            web_store.activity(newest_arrived).await
        };
        keep_reading(connect, read, |activity| {
            self.latest().web_store = activity.map(|activity| {
                let rate = float(activity.registered.unsigned_abs()) / ACTIVITY_PERIOD.as_seconds_f64();
                WebStoreFacts {
                    rate,
                    past: past.add(rate),
                    fresh: activity.fresh.unsigned_abs(),
                    parked: activity.parked.unsigned_abs(),
                    oldest: seconds(activity.oldest_age),
                    first_absent: activity.first_absent_age.map(seconds),
                }
            });
        })
        .await
    }

    async fn read_marketing(&self) -> Infallible {
        let connect = async || {
            let mut marketing = Marketing::connect(&self.connections.marketing_database_url).await?;
            marketing.limit_statements(STATEMENT_LIMIT).await?;
            Ok(marketing)
        };
        let mut past = Past::default();
        keep_reading(connect, Marketing::arrivals, |arrivals| {
            let mut latest = self.latest();
            if let Ok(arrivals) = &arrivals {
                latest.newest_arrived = arrivals.newest.as_ref().and_then(|id| id.parse().ok());
            }
            latest.marketing = arrivals.map(|arrivals| {
                let rate = float(arrivals.arrived.unsigned_abs()) / ACTIVITY_PERIOD.as_seconds_f64();
                let age = |age: i64| Duration::from_micros(age.max(0).unsigned_abs());
                let last_arrival = arrivals.last_arrival_age.map(age);
                MarketingFacts { rate, past: past.add(rate), last_arrival }
            });
        })
        .await
    }

    async fn read_journal(&self) -> Infallible {
        let connect = async || {
            let journal = Journal::open(self.connections.brokers.source(), READER).await?;
            Ok((journal, Arc::<Records>::default()))
        };
        let read = async |(journal, records): &mut (Journal, Arc<Records>)| {
            journal.catch_up().await?;
            if records.verification().entries < journal.links().len() {
                Arc::make_mut(records).update(journal.links(), journal.last_hash());
            }
            Ok(Arc::clone(records))
        };
        keep_reading(connect, read, |records| self.latest().journal = records).await
    }
}

/// The values of the last minute.
#[derive(Debug, Default)]
struct Past(VecDeque<f64>);

impl Past {
    /// Adds a value, and returns all of them.
    fn add(&mut self, value: f64) -> Vec<f64> {
        self.0.push_back(value);
        if self.0.len() > SAMPLES {
            self.0.pop_front();
        }
        self.0.iter().copied().collect()
    }
}

/// Reads a source once a second. A reading that fails closes the connection, and the next one connects again.
async fn keep_reading<C, T>(
    connect: impl AsyncFn() -> anyhow::Result<C>,
    mut read: impl AsyncFnMut(&mut C) -> anyhow::Result<T>,
    mut store: impl FnMut(Reading<T>),
) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    loop {
        ticks.tick().await;
        let attempt = async {
            let mut current = match connection.take() {
                Some(current) => current,
                None => connect().await?,
            };
            let value = read(&mut current).await?;
            connection = Some(current);
            anyhow::Ok(value)
        };
        let reading = timeout(READ_TIMEOUT, Box::pin(attempt)).await.context("no reply within 3 s");
        store(reading.flatten().map_err(|error| reason(&error)));
    }
}

fn reason(error: &anyhow::Error) -> String {
    // The last cause is the shortest one, and the page names the server itself.
    first_upper(&error.root_cause().to_string())
}

fn first_upper(text: &dyn Display) -> String {
    let text = text.to_string();
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

fn not_read<T>() -> Reading<T> {
    Err("It is being read for the first time".to_owned())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
