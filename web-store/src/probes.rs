//! Sends a probe along the way of each event in an interval, so that a broken way is noticed without a customer.
//!
//! The probe takes the way of the events: the outbox, the relay, the exchange, and the bindings and queues behind it.

use chrono::Utc;
use contracts::{
    operations::{PROBE_TYPES, Probe},
    topology::WEB_STORE_EVENTS,
};
use serde_json::json;
use service_kit::FailureLog;
use telemetry::create_span;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::{Uuid, uuid};

use crate::{outbox::OutboxEvent, relay::Relay, store::Store};

/// The namespace of probes' ids. A probe that still waits in the outbox has the id of the next one, so they do not pile
/// up there.
const PROBES: Uuid = uuid!("7b7c2e4e-9d0d-4f43-a9a5-57c6b5b1a1d0");

/// After a start, the first migration is usually complete after this time.
const START_DELAY: Duration = Duration::from_secs(1);

static PROBE_WRITES: FailureLog = FailureLog::new("probe");

/// Writes probes to the outbox until shutdown.
pub(crate) async fn send_probes(
    store: &Store,
    relay: &Relay,
    period: Duration,
    shutdown: &CancellationToken,
) {
    let mut ticks = interval_at(Instant::now() + START_DELAY, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        match store.insert_events(&PROBE_TYPES.map(probe)).await {
            Ok(_) => {
                PROBE_WRITES.succeeded();
                relay.wake.notify_one();
            }
            Err(error) => PROBE_WRITES.failed(&error),
        }
    }
}

fn probe(message_type: &'static str) -> OutboxEvent {
    let sent_at = Utc::now();
    OutboxEvent {
        message_id: Uuid::new_v5(&PROBES, message_type.as_bytes()),
        message_type,
        traceparent: create_span(None, WEB_STORE_EVENTS),
        occurred_at: sent_at,
        body: json!(Probe { sent_at }).to_string(),
    }
}
