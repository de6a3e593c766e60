//! Metrics of registrations, which their commits count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the number of registrations in one statement. The maximum is 64.
const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Registrations by outcome, and the sizes of their batches. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct RegistrationMetrics {
    outcomes: Family<OutcomeLabel, Counter>,
    batch_size: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

impl RegistrationMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { outcomes: Family::default(), batch_size: Histogram::new(BATCH_BUCKETS) };
        // An increase is visible only in a series that had a value before.
        for outcome in ["registered", "unavailable"] {
            metrics.outcomes.get_or_create(&OutcomeLabel { outcome }).inc_by(0);
        }
        registry.register("registrations", "Registrations, by outcome", metrics.outcomes.clone());
        registry.register(
            "registration_batch_size",
            "Registrations that shared one commit",
            metrics.batch_size.clone(),
        );
        metrics
    }

    /// Counts customers whose rows have been committed.
    pub(crate) fn committed(&self, batch: usize, customers: usize) {
        self.batch_size.observe(f64::from(u32::try_from(batch).unwrap_or(u32::MAX)));
        self.outcomes.get_or_create(&OutcomeLabel { outcome: "registered" }).inc_by(customers as u64);
    }

    /// Counts a request that added no customer.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
