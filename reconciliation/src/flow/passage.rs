//! Evidence that messages have passed one queue.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contracts::{operations::ConsumerStatus, topology::Queue};
use messaging::QueueState;
use tokio::time::Instant;
use uuid::Uuid;

use super::QueueObservation;

/// A consumer whose last report is older is frozen or dead. It reports once a second.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);

/// The first report that certainly describes a time within a step. The one before may have been on its way when the
/// step started.
const FIRST_RELIABLE_REPORT: u32 = 2;

/// The observation of one queue and its consumers.
///
/// A *window* starts when the depth is read. It shows in two steps that all messages of the queue at that time are
/// settled. First, the consumers receive at least that many messages. Since the queue is in order, all of its messages
/// are delivered then. Second, each consumer settles all messages that it has received.
pub(super) struct Passage {
    queue: &'static Queue,
    state: QueueState,
    consumers: HashMap<Uuid, Consumer>,
    window: Option<Window>,
    passed: Option<Instant>,
}

/// A consumer that reports.
struct Consumer {
    status: ConsumerStatus,
    reported_at: Instant,
    /// The number of reports in the current step.
    reports: u32,
    /// The messages that it had received at the first reliable report of the current step.
    received_before: u64,
}

struct Window {
    /// Every message that left the outbox before this time was in this queue or had passed it at the start.
    upstream: Option<Instant>,
    step: Step,
    /// The consumers at the start of the step.
    consumers: HashSet<Uuid>,
}

#[derive(Clone, Copy)]
enum Step {
    /// Waits until the consumers have received this number of messages.
    Delivery(u64),
    /// Waits until each consumer has settled the messages that it had received.
    Settlement,
}

impl Passage {
    pub(super) fn new(queue: &'static Queue) -> Self {
        let state = QueueState::default();
        Self { queue, state, consumers: HashMap::new(), window: None, passed: None }
    }

    pub(super) fn queue(&self) -> &'static Queue {
        self.queue
    }

    /// Returns the time such that every message that left the outbox before has passed this queue.
    pub(super) fn passed(&self) -> Option<Instant> {
        self.passed
    }

    pub(super) fn observation(&self) -> QueueObservation {
        QueueObservation {
            queue: self.queue.name,
            ready: self.state.ready_messages,
            consumers: self.state.consumers,
            reporting: u32::try_from(self.consumers.len()).unwrap_or(u32::MAX),
            in_flight: self.consumers.values().map(|consumer| consumer.status.in_flight).sum(),
            settled: self.consumers.values().map(|consumer| consumer.status.settled).sum(),
        }
    }

    /// Notes a report.
    pub(super) fn report(&mut self, status: &ConsumerStatus, now: Instant) {
        let consumer = self.consumers.entry(status.consumer).or_insert_with(|| Consumer {
            status: status.clone(),
            reported_at: now,
            reports: 0,
            received_before: 0,
        });
        consumer.status.clone_from(status);
        consumer.reported_at = now;
        consumer.reports += 1;
        if consumer.reports == FIRST_RELIABLE_REPORT {
            consumer.received_before = status.received;
        }
    }

    /// Notes the state of the queue. `upstream` is a time: every message that left the outbox before is in this queue
    /// or has passed it.
    pub(super) fn observe(&mut self, state: QueueState, upstream: Option<Instant>, now: Instant) {
        self.state = state;
        self.consumers.retain(|_, consumer| now.duration_since(consumer.reported_at) <= SILENCE_TIMEOUT);
        // A consumer that does not report counts as holding.
        let all_report = state.consumers as usize <= self.consumers.len();
        // Messages of a consumer that has ended are in the queue again.
        let window = self.window.take().filter(|window| {
            all_report && window.consumers.iter().all(|consumer| self.consumers.contains_key(consumer))
        });
        let Some(window) = window else {
            self.window = all_report.then(|| self.start(upstream));
            return;
        };
        self.window = Some(match window.step {
            Step::Delivery(ready) if self.received() >= Some(ready) => {
                let consumers = self.start_step();
                Window { step: Step::Settlement, consumers, ..window }
            }
            // The messages may have been purged. A new window shows more.
            Step::Delivery(_) if state.ready_messages == 0 => self.start(upstream),
            Step::Settlement if self.is_settled() => {
                self.passed = self.passed.max(window.upstream);
                self.start(upstream)
            }
            _ => window,
        });
    }

    fn start(&mut self, upstream: Option<Instant>) -> Window {
        let consumers = self.start_step();
        let step = match self.state.ready_messages {
            0 => Step::Settlement,
            ready => Step::Delivery(ready.into()),
        };
        Window { upstream, step, consumers }
    }

    /// Resets the consumers for a step, and returns their ids.
    fn start_step(&mut self) -> HashSet<Uuid> {
        for consumer in self.consumers.values_mut() {
            consumer.reports = 0;
        }
        self.consumers.keys().copied().collect()
    }

    /// Returns the number of messages that all consumers together have received during the step. Returns `None` before
    /// each has sent a reliable report.
    fn received(&self) -> Option<u64> {
        let received = |consumer: &Consumer| {
            consumer.is_reliable().then(|| consumer.status.received.saturating_sub(consumer.received_before))
        };
        self.consumers.values().map(received).sum()
    }

    /// Returns whether each consumer has settled the messages that it had received when the step started.
    fn is_settled(&self) -> bool {
        self.consumers
            .values()
            .all(|consumer| consumer.is_reliable() && consumer.status.settled >= consumer.received_before)
    }
}

impl Consumer {
    /// Returns whether a report of the current step certainly describes a time within the step.
    fn is_reliable(&self) -> bool {
        self.reports >= FIRST_RELIABLE_REPORT
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::{
        operations::{ConsumerStatus, SubscriptionState},
        topology::MARKETING_CREATE_CUSTOMER,
    };
    use messaging::QueueState;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::Passage;

    /// A queue whose observations and reports have a clock of their own.
    struct Scenario {
        passage: Passage,
        start: Instant,
        second: u64,
    }

    impl Scenario {
        fn new() -> Self {
            Self { passage: Passage::new(&MARKETING_CREATE_CUSTOMER), start: Instant::now(), second: 0 }
        }

        /// One second with the reports of consumers, each with the numbers of received and settled messages.
        /// Afterwards the queue has `ready` messages and `consumers` consumers.
        fn second(&mut self, reports: &[(u128, u64, u64)], ready: u32, consumers: u32) {
            self.second += 1;
            let now = self.start + Duration::from_secs(self.second);
            for (id, received, settled) in reports.iter().copied() {
                let status = ConsumerStatus {
                    queue: MARKETING_CREATE_CUSTOMER.name.to_owned(),
                    consumer: Uuid::from_u128(id),
                    service: "marketing".to_owned(),
                    in_flight: received - settled,
                    received,
                    settled,
                    subscription: SubscriptionState::Running,
                    probe: None,
                };
                self.passage.report(&status, now);
            }
            self.passage.observe(QueueState { ready_messages: ready, consumers }, Some(now), now);
        }

        /// Returns the second of the newest evidence.
        fn passed(&self) -> Option<u64> {
            self.passage.passed().map(|passed| passed.duration_since(self.start).as_secs())
        }
    }

    #[test]
    fn idle_queue_passes_after_two_reports() {
        let mut queue = Scenario::new();
        queue.second(&[(1, 7, 7)], 0, 1);
        queue.second(&[(1, 7, 7)], 0, 1);
        assert_eq!(queue.passed(), None);
        queue.second(&[(1, 7, 7)], 0, 1);
        assert_eq!(queue.passed(), Some(1));
    }

    #[test]
    fn held_message_prevents_passage_until_it_is_settled() {
        let mut queue = Scenario::new();
        for _ in 0..10 {
            queue.second(&[(1, 8, 7)], 0, 1);
        }
        assert_eq!(queue.passed(), None);
        queue.second(&[(1, 8, 8)], 0, 1);
        assert_eq!(queue.passed(), Some(1));
    }

    #[test]
    fn queue_that_is_never_empty_passes() {
        let mut queue = Scenario::new();
        for second in 0..8 {
            // 100 messages a second, 150 ready, 50 in flight.
            queue.second(&[(1, 1000 + 100 * second, 950 + 100 * second)], 150, 1);
        }
        // Reports are reliable from second 3 on. Until second 5, 200 messages are delivered. The report of second 7 is
        // reliable again, and in second 8 its messages are settled.
        assert_eq!(queue.passed(), Some(1));
    }

    #[test]
    fn silent_consumer_prevents_passage() {
        let mut queue = Scenario::new();
        for _ in 0..10 {
            queue.second(&[(1, 7, 7)], 0, 2);
        }
        assert_eq!(queue.passed(), None);
        assert!(queue.passage.observation().may_hold_messages());
    }

    #[test]
    fn message_of_consumer_that_froze_meanwhile_prevents_passage() {
        let mut queue = Scenario::new();
        queue.second(&[(1, 5, 5), (2, 5, 5)], 10, 2);
        queue.second(&[(1, 5, 5), (2, 5, 5)], 10, 2);
        queue.second(&[(1, 5, 5), (2, 5, 5)], 10, 2);
        // Consumer 2 receives one of the messages and freezes. Consumer 1 receives the others and newer ones.
        for second in 1..10 {
            queue.second(&[(1, 5 + 10 * second, 5 + 10 * second)], 10, 2);
        }
        assert_eq!(queue.passed(), None);
    }

    #[test]
    fn frozen_consumer_prevents_passage_until_broker_removes_it() {
        let mut queue = Scenario::new();
        queue.second(&[(1, 8, 7)], 0, 1);
        queue.second(&[(1, 8, 7)], 0, 1);
        for _ in 0..10 {
            queue.second(&[], 0, 1);
        }
        assert_eq!(queue.passed(), None);
        queue.second(&[], 1, 0);
        queue.second(&[], 1, 0);
        assert_eq!(queue.passed(), None, "the message is back in the queue");
    }

    #[test]
    fn queue_without_consumers_passes_only_if_empty() {
        let mut queue = Scenario::new();
        for _ in 0..5 {
            queue.second(&[], 3, 0);
        }
        assert_eq!(queue.passed(), None);
        queue.second(&[], 0, 0);
        queue.second(&[], 0, 0);
        assert_eq!(queue.passed(), Some(6), "purged");
    }

    #[test]
    fn purged_queue_of_idle_consumer_passes() {
        let mut queue = Scenario::new();
        queue.second(&[(1, 5, 5)], 100, 1);
        queue.second(&[(1, 5, 5)], 100, 1);
        for _ in 0..3 {
            queue.second(&[(1, 5, 5)], 0, 1);
        }
        assert_eq!(queue.passed(), Some(3));
    }

    #[test]
    fn evidence_of_later_queue_never_exceeds_earlier_one() {
        let mut queue = Passage::new(&MARKETING_CREATE_CUSTOMER);
        let now = Instant::now();
        for _ in 0..5 {
            queue.observe(QueueState::default(), None, now);
        }
        assert_eq!(queue.passed(), None);
        queue.observe(QueueState::default(), Some(now), now);
        queue.observe(QueueState::default(), None, now);
        assert_eq!(queue.passed(), Some(now));
    }
}
