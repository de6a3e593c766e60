//! The metrics of the watch: queues, dead letters, and lost customers.

use std::{collections::BTreeMap, time::Duration};

use messaging::{BrokerUrl, Measurement, QueueLabel, Session};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::replay::Lost;
use crate::{
    flow::{Flow, queues},
    report::State,
    sources::Sources,
};

/// The time limit of counting the dead letters of a broker. Prometheus waits 5 s for all metrics.
const LETTERS_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of the watch. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    messages: Family<QueueLabel, Measurement>,
    in_flight: Family<QueueLabel, Measurement>,
    consumers: Family<QueueLabel, Measurement>,
    dead_letters: Family<QueueLabel, Measurement>,
    differing: Gauge,
    requested: Family<StateLabel, Counter>,
    check_age: Measurement,
    started: Instant,
    last_check: watch::Sender<Option<Check>>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The end of the check.
    pub at: Instant,
    /// Customers that differ between the applications, also those on the way.
    pub differing: usize,
    /// Customers whose message is lost.
    pub lost: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            messages: Family::default(),
            in_flight: Family::default(),
            consumers: Family::default(),
            dead_letters: Family::default(),
            differing: Gauge::default(),
            requested: Family::default(),
            check_age: Measurement::default(),
            started: Instant::now(),
            last_check: watch::Sender::new(None),
        };
        // An increase is visible only in a series that had a value before.
        for state in [State::Missing, State::Behind, State::Ahead, State::NotForgotten] {
            metrics.requested.get_or_create(&StateLabel { state: state.name() }).inc_by(0);
        }
        registry.register("queue_messages", "Messages that no consumer holds", metrics.messages.clone());
        registry.register(
            "queue_in_flight_messages",
            "Messages that the consumers of a queue hold",
            metrics.in_flight.clone(),
        );
        registry.register("queue_consumers", "Consumers of a queue", metrics.consumers.clone());
        registry.register(
            "dead_letters_messages",
            "Dead letters of a queue, which wait for an operator",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "reconcile_differing_customers",
            "Customers that differ between the applications, including those whose messages are on the way",
            metrics.differing.clone(),
        );
        registry.register(
            "reconcile_requested_customers",
            "Lost customers whose messages were requested again, by state",
            metrics.requested.clone(),
        );
        registry.register_with_unit(
            "reconcile_check_age",
            "Time since the last check of customers that read both databases",
            Unit::Seconds,
            metrics.check_age.clone(),
        );
        metrics
    }

    /// Returns the last check that read both databases.
    #[must_use]
    pub fn last_check(&self) -> Option<Check> {
        *self.last_check.borrow()
    }

    pub(super) fn checked(&self, differing: usize, lost: usize) {
        self.last_check.send_replace(Some(Check { at: Instant::now(), differing, lost }));
        self.differing.set(i64::try_from(differing).unwrap_or(i64::MAX));
    }

    pub(super) fn requested(&self, customers: &[Lost]) {
        for lost in customers {
            self.requested.get_or_create(&StateLabel { state: lost.state.name() }).inc();
        }
    }

    /// Measures the queues and the dead letters.
    pub(super) async fn refresh(&self, sources: &Sources, flow: &watch::Sender<Flow>) {
        let checked = self.last_check().map_or(self.started, |check| check.at);
        self.check_age.set(checked.elapsed().as_secs_f64());
        let observed = flow.borrow().queues.clone();
        for (_, queue) in queues() {
            let labels = QueueLabel { messaging_destination_name: queue.name };
            let observation = observed.iter().find(|observation| observation.queue == queue.name);
            let ready = observation.map_or(f64::NAN, |observation| observation.ready.into());
            let consumers = observation.map_or(f64::NAN, |observation| observation.consumers.into());
            let in_flight =
                observation.map(|observation| u32::try_from(observation.in_flight).unwrap_or(u32::MAX));
            self.messages.get_or_create(&labels).set(ready);
            self.consumers.get_or_create(&labels).set(consumers);
            self.in_flight.get_or_create(&labels).set(in_flight.map_or(f64::NAN, f64::from));
        }
        let brokers = &sources.connections.brokers;
        let (events, commands) = tokio::join!(
            timeout(LETTERS_TIMEOUT, count_letters(0, brokers.source())),
            timeout(LETTERS_TIMEOUT, count_letters(1, brokers.target())),
        );
        let counts = [events, commands].map(|counts| counts.ok().flatten().unwrap_or_default());
        for (stage, queue) in queues() {
            let letters = counts[stage].get(queue.name).copied().map_or(f64::NAN, f64::from);
            let labels = QueueLabel { messaging_destination_name: queue.name };
            self.dead_letters.get_or_create(&labels).set(letters);
        }
    }
}

/// Returns the number of dead letters of each queue of a stage, or `None` if the broker cannot be read.
async fn count_letters(stage: usize, broker: &BrokerUrl) -> Option<BTreeMap<&'static str, u32>> {
    let session = Session::open(broker, "console metrics").await.ok()?;
    let mut counts = BTreeMap::new();
    for (_, queue) in queues().filter(|(other, _)| *other == stage) {
        let letters = session.queue_state(&queue.dead_letter_queue()).await.ok()?;
        counts.insert(queue.name, letters.unwrap_or_default().ready_messages);
    }
    session.close().await;
    Some(counts)
}
