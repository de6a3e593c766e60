//! Marketing's own metrics, beside those of `messaging` and `service-kit`.

use chrono::{DateTime, Utc};
use contracts::topology::Queue;
use messaging::{Incoming, MessagingMetrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use service_kit::{HttpMetrics, PoolMetrics};

use crate::{customer::Customer, list::CustomerList, probes::Probes, subscriptions::SUBSCRIPTIONS};

/// Upper bounds of critical times in seconds. The objective is 5 s. After an outage the time is its duration.
const CRITICAL_TIME_BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// All metrics of Marketing. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) messaging: MessagingMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) probes: Probes,
    critical_time: Family<FlowLabels, Histogram, fn() -> Histogram>,
    pools: PoolMetrics,
}

/// When the change that a command reports occurred, and whether the command was sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occurrence {
    at: DateTime<Utc>,
    is_replay: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    messaging_destination_name: &'static str,
    delivery: &'static str,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            messaging: MessagingMetrics::register(registry),
            http: HttpMetrics::register(registry),
            probes: Probes::register(registry),
            critical_time: Family::new_with_constructor(|| Histogram::new(CRITICAL_TIME_BUCKETS)),
            pools: PoolMetrics::register(registry),
        };
        // An increase is visible only in a series that had a value before.
        for subscription in SUBSCRIPTIONS {
            for delivery in ["first", "replay"] {
                let messaging_destination_name = subscription.queue.name;
                drop(
                    metrics.critical_time.get_or_create(&FlowLabels { messaging_destination_name, delivery }),
                );
            }
        }
        registry.register_with_unit(
            "flow_critical_time",
            "Time from a registration or a change of details until its row is committed here",
            Unit::Seconds,
            metrics.critical_time.clone(),
        );
        metrics
    }

    /// Observes changes whose rows have just been committed.
    pub(crate) fn committed(&self, queue: &Queue, occurrences: impl IntoIterator<Item = Occurrence>) {
        let now = Utc::now();
        for Occurrence { at, is_replay } in occurrences {
            let labels = FlowLabels {
                messaging_destination_name: queue.name,
                delivery: if is_replay { "replay" } else { "first" },
            };
            // The clocks of two machines may differ by more than the time that a message takes.
            let seconds = (now - at).as_seconds_f64().max(0.0);
            self.critical_time.get_or_create(&labels).observe(seconds);
        }
    }

    /// Measures the connections of the list, and the ages of probes.
    pub(crate) fn refresh(&self, list: &CustomerList) {
        self.probes.refresh();
        let (idle, used) = list.connections();
        self.pools.set("list", idle, used);
    }
}

impl Occurrence {
    pub(crate) fn of(message: &Incoming, customer: &Customer) -> Self {
        Self { at: customer.changed_at().unwrap_or_else(|| customer.since()), is_replay: message.is_replay() }
    }
}
