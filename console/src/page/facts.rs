//! The facts that the page shows, as they were at one time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use contracts::{operations::ProbeArrival, topology::Queue};

use super::{
    alerts::Alert,
    history::{Age, QueueReading},
    objective::Tally,
    records::Records,
};

/// The last reading of a source, or the reason for which it cannot be read.
pub(super) type Reading<T> = Result<T, String>;

/// A customer that arrives within this time is not late.
const LATE: Duration = Duration::from_secs(5);

/// Consumers that settle nothing for this time need a person.
const STALLED: Duration = Duration::from_secs(15);

/// An outbox that has not been emptied for this time, although the broker can be reached, needs a person.
const OUTBOX_STUCK: Duration = Duration::from_secs(15);

/// Two probes are 10 s apart by default. After this time, two of them are missing.
const PROBES_LATE: Duration = Duration::from_secs(25);

/// A check of the watch that is older says nothing about the customers of now.
const CHECK_VALID: Duration = Duration::from_secs(30);

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) at: DateTime<Utc>,
    pub(super) web_store: Reading<WebStoreFacts>,
    pub(super) marketing: Reading<MarketingFacts>,
    /// The queues of customers, in the order of the messages' way.
    pub(super) queues: Vec<QueueFacts>,
    /// The number of dead letters by the name of their work queue. A queue without letters may be missing.
    pub(super) dead_letters: BTreeMap<&'static str, u32>,
    pub(super) letters: Reading<Letters>,
    pub(super) watch: WatchFacts,
    pub(super) journal: Reading<Arc<Records>>,
    /// The registrations of the last hour.
    pub(super) objective: Reading<Tally>,
    /// The alerts that fire. `None` unless Prometheus is set.
    pub(super) alerts: Option<Reading<Vec<Alert>>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct WebStoreFacts {
    /// Customers that registered, per second.
    pub(super) rate: f64,
    /// The rates of the last minute, from old to new.
    pub(super) past: Vec<f64>,
    /// Events that wait in the outbox, counted up to 10,001.
    pub(super) fresh: u64,
    /// Events that the broker refused, counted up to 10,001.
    pub(super) parked: u64,
    /// The age of the oldest event in the outbox, or zero.
    pub(super) oldest: Duration,
    /// The age of the first registration after the newest one that has arrived in Marketing.
    pub(super) first_absent: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct MarketingFacts {
    /// New rows per second.
    pub(super) rate: f64,
    pub(super) past: Vec<f64>,
    /// The age of the newest row.
    pub(super) last_arrival: Option<Duration>,
}

/// A queue of customers.
#[derive(Debug, Clone)]
pub(super) struct QueueFacts {
    pub(super) queue: &'static Queue,
    /// `Ok(None)` if the queue does not exist.
    pub(super) reading: Reading<Option<QueueReading>>,
}

/// The dead letters, grouped.
#[derive(Debug, Clone, Default)]
pub(super) struct Letters {
    pub(super) read_at: DateTime<Utc>,
    pub(super) groups: Vec<LetterGroup>,
}

/// Dead letters of one queue with the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LetterGroup {
    pub(super) queue: String,
    pub(super) reason: String,
    pub(super) letters: u64,
    /// The letters that the code of this release would process.
    pub(super) passing: u64,
    pub(super) first: Option<DateTime<Utc>>,
    pub(super) last: Option<DateTime<Utc>>,
}

/// The result of the watch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WatchFacts {
    /// The time since the last check, or `None` before the first one.
    pub(super) check_age: Option<Duration>,
    /// Customers that differ between the applications, also those on the way.
    pub(super) differing: u64,
    /// Customers that are lost according to the evidence, and whose repair is not complete.
    pub(super) lost: u64,
    /// Whether the watch requests replays of lost messages.
    pub(super) repairs: bool,
}

/// A station between the Web Store and the rows of Marketing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Transformer,
    Marketing,
}

/// A condition that only a person can end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Queues of a service have no consumer.
    NoConsumer(Vec<&'static str>),
    /// The consumers of a queue settle nothing.
    Stalled(&'static str, Duration),
}

impl Service {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Transformer => "The transformer",
            Self::Marketing => "Marketing",
        }
    }

    fn consumes(self, queue: &Queue) -> bool {
        let name = match self {
            Self::Transformer => "transformer",
            Self::Marketing => "marketing",
        };
        queue.consumer() == name
    }
}

impl Facts {
    /// Returns the queues of a service.
    pub(super) fn queues_of(&self, service: Service) -> impl Iterator<Item = &QueueFacts> {
        self.queues.iter().filter(move |facts| service.consumes(facts.queue))
    }

    /// Returns the readings of a service's queues that exist and can be read.
    pub(super) fn readings_of(
        &self,
        service: Service,
    ) -> impl Iterator<Item = (&'static str, &QueueReading)> {
        self.queues_of(service)
            .filter_map(|facts| Some((facts.queue.name, facts.reading.as_ref().ok()?.as_ref()?)))
    }

    /// Returns the number of instances of a service: the consumers of its busiest queue. An instance reports also while
    /// its subscription is paused.
    pub(super) fn instances(&self, service: Service) -> u32 {
        let instances =
            self.readings_of(service).map(|(_, reading)| reading.consumers.max(reading.reporting));
        instances.max().unwrap_or(0)
    }

    /// Returns the queues whose subscriptions an operator has paused.
    pub(super) fn paused(&self) -> Vec<&'static str> {
        let services = [Service::Transformer, Service::Marketing].into_iter();
        let readings = services.flat_map(|service| self.readings_of(service));
        readings.filter(|(_, reading)| reading.is_paused()).map(|(queue, _)| queue).collect()
    }

    /// Returns the reason for which a service needs a person.
    pub(super) fn trouble(&self, service: Service) -> Option<Trouble> {
        let running = || self.readings_of(service).filter(|(_, reading)| !reading.is_paused());
        let without = running().filter(|(_, reading)| reading.consumers == 0);
        let without: Vec<_> = without.map(|(queue, _)| queue).collect();
        if !without.is_empty() {
            return Some(Trouble::NoConsumer(without));
        }
        let stalled = running().filter(|(_, reading)| reading.stalled >= STALLED);
        let (queue, reading) = stalled.max_by_key(|(_, reading)| reading.stalled)?;
        Some(Trouble::Stalled(queue, reading.stalled))
    }

    /// Returns the last probe of each of Marketing's queues. `None` if none has arrived.
    pub(super) fn probes(&self) -> impl Iterator<Item = (&'static str, Option<ProbeArrival>)> {
        self.readings_of(Service::Marketing).map(|(queue, reading)| (queue, reading.probe))
    }

    /// Returns a queue whose probes have ceased, and the time since then, if nothing else explains that. The Web Store may
    /// have stopped, or a binding may be missing.
    pub(super) fn ceased_probes(&self) -> Option<(&'static str, Duration)> {
        let is_explained = self.waiting() > 0
            || self.is_way_unknown()
            || !self.paused().is_empty()
            || [Service::Transformer, Service::Marketing]
                .iter()
                .any(|service| self.trouble(*service).is_some());
        if is_explained {
            return None;
        }
        let age = |probe: ProbeArrival| (self.at - probe.sent_at).to_std().unwrap_or_default();
        let ages = self.probes().filter_map(|(queue, probe)| Some((queue, age(probe?))));
        ages.max_by_key(|(_, age)| *age).filter(|(_, age)| *age > PROBES_LATE)
    }

    /// Returns the reason for which a broker cannot be read, if there is one.
    pub(super) fn broker_problem(&self) -> Option<&str> {
        let mut services = [Service::Transformer, Service::Marketing].into_iter();
        services.find_map(|service| self.broker_problem_of(service))
    }

    /// Returns the reason for which the queues of a service cannot be read. With two sites, the queues of the transformer
    /// are at the broker of the Web Store.
    pub(super) fn broker_problem_of(&self, service: Service) -> Option<&str> {
        self.queues_of(service).find_map(|facts| facts.reading.as_ref().err()).map(String::as_str)
    }

    /// Returns the name of the broker that cannot be read, if there is one. With one broker, all queues are unreadable
    /// together.
    pub(super) fn unreadable_broker(&self) -> Option<&'static str> {
        let problem = |service| self.broker_problem_of(service).is_some();
        match (problem(Service::Transformer), problem(Service::Marketing)) {
            (true, true) => Some("The broker"),
            (true, false) => Some("The Web Store’s broker"),
            (false, true) => Some("Marketing’s broker"),
            (false, false) => None,
        }
    }

    /// Returns whether the outbox is not emptied although the broker can be reached.
    pub(super) fn is_outbox_stuck(&self) -> bool {
        let is_stuck =
            |facts: &WebStoreFacts| facts.parked > 0 || (facts.fresh > 0 && facts.oldest >= OUTBOX_STUCK);
        let is_reachable = self.broker_problem_of(Service::Transformer).is_none();
        is_reachable && self.web_store.as_ref().is_ok_and(is_stuck)
    }

    /// Returns the number of messages on the way, in the outbox and in the queues.
    pub(super) fn waiting(&self) -> u64 {
        let outbox = self.web_store.as_ref().map_or(0, |facts| facts.fresh + facts.parked);
        outbox + self.queued().map(|reading| reading.waiting).sum::<u64>()
    }

    /// Returns whether messages may wait that the page does not see.
    pub(super) fn is_way_unknown(&self) -> bool {
        self.web_store.is_err() || self.broker_problem().is_some() || self.queues.is_empty()
    }

    fn queued(&self) -> impl Iterator<Item = &QueueReading> {
        self.queues.iter().filter_map(|facts| facts.reading.as_ref().ok()?.as_ref())
    }

    /// Returns how long Marketing is behind the Web Store, if that is more than the usual time.
    ///
    /// There are two measures. The databases have the first registration that has not arrived. It may be a dead letter,
    /// and then it is no measure. The histories of the queues have the ages of the waiting messages, but not of those
    /// from before their beginning. The smaller measure counts.
    pub(super) fn behind(&self) -> Option<Duration> {
        if self.waiting() == 0 {
            return None;
        }
        let first_absent = self.web_store.as_ref().ok().and_then(|facts| facts.first_absent);
        let outbox = self.web_store.as_ref().map_or(Duration::ZERO, |facts| facts.oldest);
        let ages: Vec<Age> = self.queued().filter_map(|reading| reading.oldest).collect();
        let is_complete = ages.iter().all(|age| matches!(age, Age::Exactly(_)));
        let oldest = ages.iter().map(|age| match age {
            Age::Exactly(age) | Age::AtLeast(age) => *age,
        });
        let oldest = oldest.max().unwrap_or_default().max(outbox);
        let behind = match first_absent {
            Some(first_absent) if is_complete => first_absent.min(oldest),
            Some(first_absent) => first_absent.max(oldest),
            None => oldest,
        };
        (behind >= LATE).then_some(behind)
    }

    /// Returns the growth of the messages on the way, per second.
    pub(super) fn growth(&self) -> f64 {
        self.queued().map(|reading| reading.growth).sum()
    }

    /// Returns the number of dead letters.
    pub(super) fn letter_count(&self) -> u64 {
        self.dead_letters.values().copied().map(u64::from).sum()
    }
}

impl WatchFacts {
    /// Returns whether the last check says something about the customers of now.
    pub(super) fn is_current(&self) -> bool {
        self.check_age.is_some_and(|age| age <= CHECK_VALID)
    }
}
