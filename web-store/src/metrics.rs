//! The Web Store's own metrics, beside those of `messaging` and `service-kit`.

use messaging::{Measurement, MessagingMetrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};
use service_kit::{HttpMetrics, PoolMetrics};

use crate::{
    outbox::OutboxState,
    store::{OutcomeLabel, RegistrationMetrics, Store},
};

/// All metrics of the Web Store. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) registrations: RegistrationMetrics,
    pub(crate) messaging: MessagingMetrics,
    pub(crate) http: HttpMetrics,
    updates: Family<OutcomeLabel, Counter>,
    outbox_messages: Family<OutboxLabel, Measurement>,
    outbox_oldest_age: Measurement,
    pools: PoolMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutboxLabel {
    state: &'static str,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            registrations: RegistrationMetrics::register(registry),
            messaging: MessagingMetrics::register(registry),
            http: HttpMetrics::register(registry),
            updates: Family::default(),
            outbox_messages: Family::default(),
            outbox_oldest_age: Measurement::default(),
            pools: PoolMetrics::register(registry),
        };
        registry.register("details_updates", "Changes of details, by outcome", metrics.updates.clone());
        registry.register(
            "outbox_messages",
            "Events in the outbox, counted up to 10001",
            metrics.outbox_messages.clone(),
        );
        registry.register_with_unit(
            "outbox_oldest_age",
            "Time that the oldest event has waited in the outbox, or 0",
            Unit::Seconds,
            metrics.outbox_oldest_age.clone(),
        );
        metrics
    }

    pub(crate) fn updated(&self, outcome: &'static str) {
        self.updates.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Measures the outbox and the connections.
    pub(crate) async fn refresh(&self, store: &Store) {
        let unknown = OutboxState { fresh: f64::NAN, parked: f64::NAN, oldest_age: f64::NAN };
        let OutboxState { fresh, parked, oldest_age } = store.outbox_state().await.unwrap_or(unknown);
        for (state, messages) in [("fresh", fresh), ("parked", parked)] {
            self.outbox_messages.get_or_create(&OutboxLabel { state }).set(messages);
        }
        self.outbox_oldest_age.set(oldest_age);
        for (pool, idle, used) in store.connections() {
            self.pools.set(pool, idle, used);
        }
    }
}
