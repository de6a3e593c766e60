//! The probes that arrive: how long they take, and when the last one was sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use contracts::operations::Probe;
use messaging::{Incoming, Measurement, QueueLabel, Rejection, duration_histogram};
use prometheus_client::{
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::{Duration, sleep};

use crate::subscriptions::SUBSCRIPTIONS;

/// Two probes of the Web Store are 10 s apart. After this time, two of them are missing.
const LATE: TimeDelta = TimeDelta::seconds(25);

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The latest probe of each queue. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    started: DateTime<Utc>,
    latest: Arc<Mutex<BTreeMap<&'static str, DateTime<Utc>>>>,
    latency: Family<QueueLabel, Histogram, fn() -> Histogram>,
    age: Family<QueueLabel, Measurement>,
}

impl Probes {
    /// Creates the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let probes = Self {
            started: Utc::now(),
            latest: Arc::default(),
            latency: Family::new_with_constructor(duration_histogram),
            age: Family::default(),
        };
        registry.register_with_unit(
            "flow_probe_latency",
            "Time from the Web Store's outbox to Marketing that a probe took",
            Unit::Seconds,
            probes.latency.clone(),
        );
        registry.register_with_unit(
            "flow_probe_age",
            "Time since the last probe that arrived was sent, or since the start of the process",
            Unit::Seconds,
            probes.age.clone(),
        );
        probes
    }

    /// Notes a probe.
    ///
    /// # Errors
    /// Returns a [`Rejection`] if its body is malformed.
    pub(crate) fn arrived(&self, queue: &'static str, message: &Incoming) -> Result<(), Rejection> {
        let Probe { sent_at } = serde_json::from_slice(message.body())?;
        let labels = QueueLabel { messaging_destination_name: queue };
        let seconds = (Utc::now() - sent_at).as_seconds_f64().max(0.0);
        self.latency.get_or_create(&labels).observe(seconds);
        let mut latest = self.latest();
        let latest = latest.entry(queue).or_insert(sent_at);
        *latest = sent_at.max(*latest);
        Ok(())
    }

    /// Measures the ages.
    pub(crate) fn refresh(&self) {
        let now = Utc::now();
        for subscription in SUBSCRIPTIONS {
            let queue = subscription.queue.name;
            let latest = self.latest().get(queue).copied().unwrap_or(self.started);
            let labels = QueueLabel { messaging_destination_name: queue };
            self.age.get_or_create(&labels).set((now - latest).as_seconds_f64().max(0.0));
        }
    }

    /// Returns the queues whose probes have ceased, for health checks. Before the first probe, nothing is known: the
    /// Web Store may send none.
    pub(crate) fn problem(&self) -> Option<String> {
        let late_since = Utc::now() - LATE;
        let latest = self.latest();
        let late: Vec<_> = latest.iter().filter(|(_, sent_at)| **sent_at < late_since).collect();
        let (queue, sent_at) = late.first()?;
        let sent_at = sent_at.format("%H:%M:%S");
        Some(format!(
            "no probe has arrived in {queue} that was sent after {sent_at} UTC; the way to it is broken"
        ))
    }

    /// Logs when probes cease and when they arrive again. Never returns.
    pub(crate) async fn watch(&self) {
        let mut are_late = false;
        loop {
            sleep(CHECK_INTERVAL).await;
            let problem = self.problem();
            match &problem {
                Some(problem) if !are_late => tracing::warn!("{problem}"),
                None if are_late => tracing::info!("probes arrive again"),
                _ => {}
            }
            are_late = problem.is_some();
        }
    }

    fn latest(&self) -> MutexGuard<'_, BTreeMap<&'static str, DateTime<Utc>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
