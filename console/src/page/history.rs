//! The recent past of one queue: its rates, and the age of its oldest message.
//!
//! The broker reveals the depth of a queue and not the age of its messages. A queue is in order, so the oldest of `n`
//! messages is the `n`-th last that arrived. The history has the number of arrived messages at each time, and therefore
//! the time of that arrival.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use contracts::operations::{ConsumerStatus, ProbeArrival, SubscriptionState};
use messaging::QueueState;
use tokio::time::Instant;
use uuid::Uuid;

use super::format::float;

/// A consumer that has not reported for this time has ended, or cannot reach the broker.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The period of the rates. Consumers report once a second.
const RATE_PERIOD: Duration = Duration::from_secs(5);

/// The period of the trend.
const TREND_PERIOD: Duration = Duration::from_secs(10);

/// The shortest period of a prediction. Consumers report once a second, so a shorter one has few values.
const SHORTEST_TREND: Duration = Duration::from_secs(3);

/// The number of samples for a picture. There is one a second.
const SAMPLES: usize = 60;

/// The maximum of remembered arrivals, one a second: 6 hours. Older messages count as old as the oldest of them.
const MAX_ARRIVALS: usize = 21_600;

/// The history of one queue.
#[derive(Debug)]
pub(super) struct History {
    began: Instant,
    consumers: BTreeMap<Uuid, Consumer>,
    /// The number of messages that were settled since the history began.
    settled: u64,
    /// The number of messages that left the queue in another way, for example by a purge.
    removed: u64,
    /// The number of messages that had arrived at a time, where it grew.
    arrivals: VecDeque<(Instant, u64)>,
    samples: VecDeque<Sample>,
    /// The last time at which a message was settled, or at which none waited.
    progress: Instant,
    /// The newest probe of all consumers.
    probe: Option<ProbeArrival>,
}

#[derive(Debug)]
struct Consumer {
    settled: u64,
    in_flight: u64,
    subscription: SubscriptionState,
    reported: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    waiting: u64,
    settled: u64,
}

/// The age of the oldest message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    Exactly(Duration),
    /// The message was there when the history began.
    AtLeast(Duration),
}

/// The state of a queue, with the values that follow from its history.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueueReading {
    /// Messages in the queue, and messages that its consumers hold.
    pub(super) waiting: u64,
    pub(super) consumers: u32,
    /// The consumers that report.
    pub(super) reporting: u32,
    /// Messages that were settled, per second.
    pub(super) rate: f64,
    /// The growth of the waiting messages, per second.
    pub(super) growth: f64,
    /// The decrease of the waiting messages since they were most, per second. It is 0 while they grow.
    pub(super) drain: f64,
    /// The age of the oldest message, unless none waits.
    pub(super) oldest: Option<Age>,
    /// How long consumers have settled nothing while messages wait.
    pub(super) stalled: Duration,
    /// The state that an operator gave to the subscription.
    pub(super) subscription: SubscriptionState,
    /// The newest probe that has arrived since the history began.
    pub(super) probe: Option<ProbeArrival>,
    /// The waiting messages of the last minute, from old to new.
    pub(super) past: Vec<f64>,
}

impl QueueReading {
    /// Returns whether an operator has paused the subscription.
    pub(super) fn is_paused(&self) -> bool {
        self.subscription == SubscriptionState::Paused
    }

    /// Returns the time until no message waits, if the queue shrinks.
    pub(super) fn time_to_drain(&self) -> Option<Duration> {
        let shrinks = self.waiting > 0 && self.drain > 0.0 && self.consumers > 0;
        shrinks.then(|| Duration::from_secs_f64((float(self.waiting) / self.drain).min(1e9)))
    }
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            consumers: BTreeMap::new(),
            settled: 0,
            removed: 0,
            arrivals: VecDeque::new(),
            samples: VecDeque::new(),
            progress: now,
            probe: None,
        }
    }

    /// Notes a report of a consumer.
    pub(super) fn report(&mut self, status: &ConsumerStatus, now: Instant) {
        let ConsumerStatus { consumer, in_flight, settled, subscription, probe, .. } = *status;
        // A consumer that is new to the history may have settled messages before it.
        let is_new_session = now.duration_since(self.began) > REPORT_TIMEOUT;
        let before = self.consumers.get(&consumer).map(|consumer| consumer.settled);
        let before = before.unwrap_or(if is_new_session { 0 } else { settled });
        self.settled += settled.saturating_sub(before);
        self.probe = self.probe.into_iter().chain(probe).max_by_key(|probe| probe.sent_at);
        self.consumers.insert(consumer, Consumer { settled, in_flight, subscription, reported: now });
    }

    /// Notes the state of the queue, and returns the reading.
    pub(super) fn observe(&mut self, state: QueueState, now: Instant) -> QueueReading {
        self.consumers.retain(|_, consumer| now.duration_since(consumer.reported) <= REPORT_TIMEOUT);
        // Without a consumer, the broker has put the messages of the last one back.
        let in_flight = if state.consumers == 0 { 0 } else { self.in_flight() };
        let waiting = u64::from(state.ready_messages) + in_flight;
        let arrived = (self.settled + self.removed + waiting).max(self.arrived());
        if waiting == 0 {
            self.removed = arrived - self.settled;
        }
        if self.arrivals.back().is_none_or(|(_, last)| arrived > *last) {
            self.arrivals.push_back((now, arrived));
        }
        let oldest = self.oldest(waiting, arrived, now);
        if self.arrivals.len() > MAX_ARRIVALS {
            self.arrivals.pop_front();
        }
        let has_progress = self.samples.back().is_none_or(|last| last.settled < self.settled);
        if has_progress || waiting == 0 {
            self.progress = now;
        }
        self.samples.push_back(Sample { at: now, waiting, settled: self.settled });
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let reporting = u32::try_from(self.consumers.len()).unwrap_or(u32::MAX);
        let latest = self.consumers.values().max_by_key(|consumer| consumer.reported);
        let subscription = latest.map_or(SubscriptionState::Running, |consumer| consumer.subscription);
        let is_paused = subscription == SubscriptionState::Paused;
        QueueReading {
            waiting,
            consumers: state.consumers,
            reporting: if is_paused { reporting } else { reporting.min(state.consumers) },
            subscription,
            rate: self.change(RATE_PERIOD, |sample| float(sample.settled)),
            growth: self.change(TREND_PERIOD, |sample| float(sample.waiting)),
            drain: self.drain(),
            oldest,
            stalled: now.duration_since(self.progress),
            probe: self.probe,
            past: self.samples.iter().map(|sample| float(sample.waiting)).collect(),
        }
    }

    fn in_flight(&self) -> u64 {
        self.consumers.values().map(|consumer| consumer.in_flight).sum()
    }

    fn arrived(&self) -> u64 {
        self.arrivals.back().map_or(0, |(_, arrived)| *arrived)
    }

    /// Returns the age of the oldest waiting message, and forgets the arrivals of settled ones.
    fn oldest(&mut self, waiting: u64, arrived: u64, now: Instant) -> Option<Age> {
        if waiting == 0 {
            let last = self.arrivals.len().saturating_sub(1);
            self.arrivals.drain(..last);
            return None;
        }
        let number = arrived.saturating_sub(waiting) + 1;
        let index = self.arrivals.partition_point(|(_, arrived)| *arrived < number);
        let (at, _) = *self.arrivals.get(index)?;
        let age = now.duration_since(at);
        let was_there = index == 0 && self.arrivals.front().is_some_and(|(first, _)| *first == at);
        // One older arrival stays, which shows that the message was not there before.
        self.arrivals.drain(..index.saturating_sub(1));
        Some(if was_there { Age::AtLeast(age) } else { Age::Exactly(age) })
    }

    /// Returns the decrease per second since the largest number of waiting messages in the period of the trend. A queue
    /// whose consumer has just started has grown before, which says nothing about its drain.
    fn drain(&self) -> f64 {
        let Some(last) = self.samples.back() else { return 0.0 };
        let recent = self.samples.iter().filter(|sample| last.at.duration_since(sample.at) <= TREND_PERIOD);
        let Some(peak) = recent.max_by_key(|sample| sample.waiting) else { return 0.0 };
        let period = last.at.duration_since(peak.at);
        if period < SHORTEST_TREND {
            return 0.0;
        }
        float(peak.waiting - last.waiting) / period.as_secs_f64()
    }

    /// Returns the change of a value per second in a period up to the last sample.
    fn change(&self, period: Duration, value: impl Fn(&Sample) -> f64) -> f64 {
        let Some(last) = self.samples.back() else { return 0.0 };
        let first = self.samples.iter().find(|sample| last.at.duration_since(sample.at) <= period);
        let Some(first) = first.filter(|first| first.at < last.at) else { return 0.0 };
        (value(last) - value(first)) / last.at.duration_since(first.at).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::operations::{ConsumerStatus, SubscriptionState};
    use messaging::QueueState;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{Age, History, QueueReading};

    /// A history with one consumer, observed once a second.
    struct Observed {
        history: History,
        start: Instant,
    }

    impl Observed {
        fn new() -> Self {
            let start = Instant::now();
            Self { history: History::new(start), start }
        }

        fn at(&mut self, second: u64, ready: u32, consumer: Option<(u64, u64)>) -> QueueReading {
            let now = self.start + Duration::from_secs(second);
            if let Some((settled, in_flight)) = consumer {
                let status = ConsumerStatus {
                    queue: "queue".into(),
                    consumer: Uuid::nil(),
                    service: "service".into(),
                    in_flight,
                    received: settled + in_flight,
                    settled,
                    subscription: SubscriptionState::Running,
                    probe: None,
                };
                self.history.report(&status, now);
            }
            let consumers = consumer.is_some().into();
            self.history.observe(QueueState { ready_messages: ready, consumers }, now)
        }
    }

    #[test]
    fn age_is_time_since_arrival_of_oldest_message() {
        let mut queue = Observed::new();
        assert_eq!(queue.at(0, 0, None).oldest, None);
        queue.at(10, 100, None);
        let reading = queue.at(30, 200, None);
        assert_eq!(reading.oldest, Some(Age::Exactly(Duration::from_secs(20))));
        // The consumer settles the 100 messages of the first arrival.
        assert_eq!(queue.at(40, 99, Some((100, 1))).oldest, Some(Age::Exactly(Duration::from_secs(10))));
        assert_eq!(queue.at(50, 0, Some((200, 0))).oldest, None);
        assert_eq!(queue.at(60, 5, Some((200, 0))).oldest, Some(Age::Exactly(Duration::ZERO)));
    }

    #[test]
    fn message_from_before_the_history_is_at_least_as_old() {
        let mut queue = Observed::new();
        queue.at(0, 5, None);
        assert_eq!(queue.at(60, 5, None).oldest, Some(Age::AtLeast(Duration::from_mins(1))));
    }

    #[test]
    fn purged_messages_do_not_count() {
        let mut queue = Observed::new();
        queue.at(0, 0, None);
        queue.at(10, 1000, None);
        queue.at(20, 0, None);
        assert_eq!(queue.at(30, 3, None).oldest, Some(Age::Exactly(Duration::ZERO)));
    }

    #[test]
    fn rates_follow_settled_and_waiting_messages() {
        let mut queue = Observed::new();
        queue.at(0, 1000, Some((500, 0)));
        let mut reading = queue.at(1, 900, Some((600, 0)));
        for second in 2..8_u32 {
            let settled = 500 + 100 * u64::from(second);
            reading = queue.at(second.into(), 1000 - 100 * second, Some((settled, 0)));
        }
        assert!((reading.rate - 100.0).abs() < 0.1 && (reading.growth + 100.0).abs() < 0.1, "{reading:?}");
        assert_eq!(reading.time_to_drain(), Some(Duration::from_secs(3)));
        assert_eq!(reading.stalled, Duration::ZERO);
        for second in 8..20 {
            reading = queue.at(second, 300, Some((1200, 0)));
        }
        assert_eq!(reading.stalled, Duration::from_secs(12));
        assert_eq!(reading.time_to_drain(), None);
    }

    #[test]
    fn prediction_begins_with_the_drain() {
        let mut queue = Observed::new();
        for second in 0..10_u32 {
            queue.at(second.into(), 100 * second, None);
        }
        let mut reading = queue.at(10, 1000, Some((0, 0)));
        assert_eq!(reading.time_to_drain(), None);
        for second in 11..15_u32 {
            let settled = 50 * (second - 10);
            reading = queue.at(second.into(), 1000 - settled, Some((settled.into(), 0)));
        }
        assert_eq!(reading.time_to_drain(), Some(Duration::from_secs(16)));
    }

    #[test]
    fn consumer_without_reports_is_not_counted() {
        let mut queue = Observed::new();
        queue.at(0, 0, Some((5, 3)));
        let now = queue.start + Duration::from_secs(9);
        let reading = queue.history.observe(QueueState { ready_messages: 1, consumers: 1 }, now);
        assert_eq!((reading.consumers, reading.reporting, reading.waiting), (1, 0, 1));
    }
}
