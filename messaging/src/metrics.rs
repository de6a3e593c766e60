//! Metrics of messages and connections.
//!
//! Names and labels are those of OpenTelemetry's semantic conventions for messaging, where there are any:
//! <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/>. No label has a value that a sender of
//! messages can choose.

use std::{borrow::Cow, fmt, sync::atomic::AtomicU64, time::Duration};

use contracts::{operations::SubscriptionState, topology::Queue};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{ConnectionStatus, Outgoing, PublishOutcome, Rejection};

/// Upper bounds of durations in seconds. OpenTelemetry advises those from 5 ms. Most of our steps are faster.
const DURATION_BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Upper bounds of the number of messages in a batch. The maximum is 256.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Metrics of the messages that a process publishes and consumes. Clones share them.
#[derive(Debug, Clone)]
pub struct MessagingMetrics {
    sent: Family<SentLabels, Counter>,
    publish_duration: Histograms<PublishLabels>,
    consumed: Family<ConsumedLabels, Counter>,
    batch_messages: Histograms<QueueLabel>,
    process_duration: Histograms<QueueLabel>,
    settle_duration: Histograms<QueueLabel>,
    held: Family<QueueLabel, Gauge>,
    paused: Family<QueueLabel, Gauge>,
    rate_limit: Family<QueueLabel, Gauge>,
}

/// The metrics of one consumer.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    pub(crate) queue: &'static str,
    consumed: Family<ConsumedLabels, Counter>,
    succeeded: Counter,
    batch_messages: Histogram,
    process_duration: Histogram,
    settle_duration: Histogram,
    held: Gauge,
    paused: Gauge,
    rate_limit: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SentLabels {
    messaging_destination_name: &'static str,
    messaging_rabbitmq_destination_routing_key: Option<Cow<'static, str>>,
    error_type: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishLabels {
    messaging_destination_name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConsumedLabels {
    messaging_destination_name: &'static str,
    error_type: Option<&'static str>,
}

/// The label of a metric that has one value for each queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabel {
    /// The name of the queue.
    pub messaging_destination_name: &'static str,
}

/// A gauge of a source that may be unavailable. Its value is then not a number.
pub type Measurement = Gauge<f64, AtomicU64>;

/// Returns an empty histogram of durations.
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn batch_histogram() -> Histogram {
    Histogram::new(BATCH_BUCKETS)
}

impl MessagingMetrics {
    /// Creates the metrics and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sent: Family::default(),
            publish_duration: Family::new_with_constructor(duration_histogram),
            consumed: Family::default(),
            batch_messages: Family::new_with_constructor(batch_histogram),
            process_duration: Family::new_with_constructor(duration_histogram),
            settle_duration: Family::new_with_constructor(duration_histogram),
            held: Family::default(),
            paused: Family::default(),
            rate_limit: Family::default(),
        };
        registry.register(
            "messaging_client_sent_messages",
            "Messages that were published, by outcome",
            metrics.sent.clone(),
        );
        registry.register_with_unit(
            "messaging_publish_duration",
            "Time to publish a batch and to receive all its confirms",
            Unit::Seconds,
            metrics.publish_duration.clone(),
        );
        registry.register(
            "messaging_client_consumed_messages",
            "Messages that were settled, by outcome",
            metrics.consumed.clone(),
        );
        registry.register(
            "messaging_batch_messages",
            "Messages in one batch of a consumer",
            metrics.batch_messages.clone(),
        );
        registry.register_with_unit(
            "messaging_process_duration",
            "Time to process a batch, including retries while a server is unavailable",
            Unit::Seconds,
            metrics.process_duration.clone(),
        );
        registry.register_with_unit(
            "messaging_settle_duration",
            "Time to publish the dead letters of a batch and to ack it",
            Unit::Seconds,
            metrics.settle_duration.clone(),
        );
        registry.register(
            "messaging_held_messages",
            "Messages that a consumer holds and retries, because a server is unavailable",
            metrics.held.clone(),
        );
        registry.register(
            "subscription_paused",
            "Whether an operator has paused the subscription (1) or not (0)",
            metrics.paused.clone(),
        );
        registry.register(
            "subscription_rate_limit",
            "Messages per second to which an operator has throttled the subscription, or 0",
            metrics.rate_limit.clone(),
        );
        metrics
    }

    /// Counts the messages of a batch that was published. `routing_key` replaces the keys of their types, and is not a label.
    pub(crate) fn published(
        &self,
        batch: &[Outgoing],
        outcomes: &[PublishOutcome],
        routing_key: Option<&str>,
        duration: Duration,
    ) {
        let Some(first) = batch.first() else { return };
        let labels = PublishLabels { messaging_destination_name: first.exchange };
        self.publish_duration.get_or_create(&labels).observe(duration.as_secs_f64());
        let labels = |(message, outcome): (&Outgoing, &PublishOutcome)| SentLabels {
            messaging_destination_name: message.exchange,
            messaging_rabbitmq_destination_routing_key: routing_key
                .is_none()
                .then(|| message.routing_key().into_owned().into()),
            error_type: outcome.error_type(),
        };
        // Most batches have one type and one outcome.
        let messages: Vec<_> = batch.iter().zip(outcomes).collect();
        let same = |a: &(&Outgoing, &PublishOutcome), b: &(&Outgoing, &PublishOutcome)| {
            a.1 == b.1
                && a.0.exchange == b.0.exchange
                && a.0.envelope.message_type == b.0.envelope.message_type
        };
        for group in messages.chunk_by(same) {
            self.sent.get_or_create(&labels(group[0])).inc_by(group.len() as u64);
        }
    }

    /// Returns the metrics of the consumer of a queue. All of them exist from now on, with the value 0.
    pub(crate) fn of_queue(&self, queue: &Queue) -> QueueMetrics {
        let labels = QueueLabel { messaging_destination_name: queue.name };
        let succeeded = ConsumedLabels { messaging_destination_name: queue.name, error_type: None };
        QueueMetrics {
            queue: queue.name,
            consumed: self.consumed.clone(),
            succeeded: self.consumed.get_or_create_owned(&succeeded),
            batch_messages: self.batch_messages.get_or_create_owned(&labels),
            process_duration: self.process_duration.get_or_create_owned(&labels),
            settle_duration: self.settle_duration.get_or_create_owned(&labels),
            held: self.held.get_or_create_owned(&labels),
            paused: self.paused.get_or_create_owned(&labels),
            rate_limit: self.rate_limit.get_or_create_owned(&labels),
        }
    }
}

impl QueueMetrics {
    pub(crate) fn processed(&self, messages: usize, duration: Duration) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
        self.process_duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn settled<'a>(
        &self,
        messages: usize,
        rejections: impl ExactSizeIterator<Item = &'a Rejection>,
        duration: Duration,
    ) {
        self.settle_duration.observe(duration.as_secs_f64());
        self.succeeded.inc_by((messages - rejections.len()) as u64);
        for rejection in rejections {
            let error_type = Some(rejection.code());
            let labels = ConsumedLabels { messaging_destination_name: self.queue, error_type };
            self.consumed.get_or_create(&labels).inc();
        }
    }

    /// Reports the state of the subscription.
    pub(crate) fn apply(&self, state: SubscriptionState) {
        self.paused.set(i64::from(state == SubscriptionState::Paused));
        self.rate_limit.set(match state {
            SubscriptionState::Throttled { rate } => rate.get().into(),
            SubscriptionState::Running | SubscriptionState::Paused => 0,
        });
    }

    /// Reports the number of messages that are held, or 0.
    pub(crate) fn hold(&self, messages: usize) {
        self.held.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }
}

/// The state of connections at the time of a scrape.
#[derive(Debug)]
struct ConnectionMetrics(Vec<ConnectionStatus>);

/// Registers the state of connections: whether each is up, and how often it was lost.
pub fn register_connections(
    registry: &mut Registry,
    connections: impl IntoIterator<Item = ConnectionStatus>,
) {
    registry.register_collector(Box::new(ConnectionMetrics(connections.into_iter().collect())));
}

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let up = ConstGauge::new(0i64);
        let help = "Whether a connection works (1) or not (0). The health check has the reason";
        let mut family = encoder.encode_descriptor("connection_up", help, None, up.metric_type())?;
        for status in &self.0 {
            let up = ConstGauge::new(i64::from(status.problem().is_none()));
            up.encode(family.encode_family(&[("connection", status.name())])?)?;
        }
        let failures = ConstCounter::new(0u64);
        let help = "Sessions of a connection that failed; a new one follows each of them";
        let mut family =
            encoder.encode_descriptor("connection_failures", help, None, failures.metric_type())?;
        for status in &self.0 {
            let failures = ConstCounter::new(status.failures());
            failures.encode(family.encode_family(&[("connection", status.name())])?)?;
        }
        Ok(())
    }
}
