//! Evidence that messages have passed the queues, without consuming from them.
//!
//! A monitor reads the depth of each queue and the consumers' status reports. It computes a time: every message that
//! left the outbox before that time has left all queues and all consumers. A customer whose message left the outbox
//! before that time, and who is neither in Marketing nor among the dead letters afterwards, is lost.
//!
//! Queues are processed in order, so this works under load as well, while no queue is ever empty.

mod passage;

use std::{convert::Infallible, time::Duration};

use anyhow::Context;
use contracts::topology::{MARKETING_COMMANDS, QUEUES, Queue, WEB_STORE_EVENTS};
use messaging::{BrokerUrl, QueueState, Session, StatusReports};
use readers::connections::Brokers;
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::sources::Sources;
use passage::Passage;

/// The interval in which the monitor reads the depths of the queues.
const OBSERVATION_INTERVAL: Duration = Duration::from_millis(500);

/// The exchanges in the order in which messages pass them.
const STAGES: [&str; 2] = [WEB_STORE_EVENTS, MARKETING_COMMANDS];

/// The observed state of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueObservation {
    /// The name of the queue.
    pub queue: &'static str,
    /// The number of messages that no consumer holds.
    pub ready: u32,
    /// The number of consumers.
    pub consumers: u32,
    /// The number of consumers that report their messages in flight.
    pub reporting: u32,
    /// The number of messages that the reporting consumers hold.
    pub in_flight: u64,
    /// The number of messages that the reporting consumers have settled.
    #[serde(skip)]
    pub settled: u64,
}

impl QueueObservation {
    /// Returns whether the queue or a consumer may hold a message. A consumer that does not report counts as holding.
    #[must_use]
    pub fn may_hold_messages(&self) -> bool {
        self.ready > 0 || self.in_flight > 0 || self.consumers > self.reporting
    }
}

/// The state of all queues.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Every message that left the outbox before this time has passed all queues.
    passed: Option<Instant>,
    /// The queues, in the order in which messages pass them. Empty before the first observation.
    pub queues: Vec<QueueObservation>,
}

impl Flow {
    /// Returns whether every message that had left the outbox at `time` has passed all queues.
    #[must_use]
    pub fn has_passed(&self, time: Instant) -> bool {
        self.passed.is_some_and(|passed| passed >= time)
    }

    /// Returns whether all consumers report the messages that they hold.
    pub(crate) fn is_observable(&self) -> bool {
        !self.queues.is_empty() && self.queues.iter().all(|queue| queue.consumers <= queue.reporting)
    }
}

/// Observes the queues and publishes each new state. Never returns while the brokers can be read.
///
/// # Errors
/// Returns an error if a broker cannot be read.
pub async fn monitor(sources: &Sources, flow: &watch::Sender<Flow>) -> anyhow::Result<Infallible> {
    let mut brokers = vec![Broker::open(sources.connections.brokers.source(), "BROKER_URL").await?];
    if let Some(target) = &sources.connections.brokers.target_broker_url {
        brokers.push(Broker::open(target, "TARGET_BROKER_URL").await?);
    }
    let mut passages: Vec<_> = queues().map(|(stage, queue)| (stage, Passage::new(queue))).collect();
    let mut ticks = interval(OBSERVATION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for broker in &mut brokers {
            broker.read_reports(&mut passages)?;
        }
        for index in 0..passages.len() {
            let (stage, queue) = (passages[index].0, passages[index].1.queue());
            // Before the broker is asked, so that the reply covers every message that was in the queue at this time.
            let start = Instant::now();
            let upstream = if stage == 0 { Some(start) } else { passed(&passages, stage - 1) };
            let broker = if stage == 0 { 0 } else { brokers.len() - 1 };
            let observed = brokers[broker].state(queue).await?;
            passages[index].1.observe(observed, upstream, Instant::now());
        }
        flow.send_modify(|flow| {
            flow.passed = flow.passed.max(passed(&passages, STAGES.len() - 1));
            flow.queues = passages.iter().map(|(_, passage)| passage.observation()).collect();
        });
    }
}

/// Returns the queues with their stages, in the order in which messages pass them.
pub(crate) fn queues() -> impl Iterator<Item = (usize, &'static Queue)> {
    (0..).zip(STAGES).flat_map(|(stage, exchange)| {
        QUEUES.iter().filter(move |queue| queue.exchange == exchange).map(move |queue| (stage, queue))
    })
}

/// Returns the time for which all queues of a stage have evidence.
fn passed(passages: &[(usize, Passage)], stage: usize) -> Option<Instant> {
    let stage = passages.iter().filter(|(other, _)| *other == stage);
    stage.map(|(_, passage)| passage.passed()).min().flatten()
}

/// A broker with its subscription to status reports.
struct Broker {
    session: Session,
    reports: StatusReports,
    variable: &'static str,
}

impl Broker {
    async fn open(broker: &BrokerUrl, variable: &'static str) -> anyhow::Result<Self> {
        let open = async {
            let session = Session::open(broker, "console").await?;
            let reports = session.status_reports("console").await?;
            anyhow::Ok(Self { session, reports, variable })
        };
        open.await.with_context(|| Brokers::remedy(variable))
    }

    /// Passes the reports that have arrived to their queues.
    fn read_reports(&mut self, passages: &mut [(usize, Passage)]) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(report) = self.reports.next_ready().with_context(|| Brokers::remedy(self.variable))? {
            let passage = passages.iter_mut().find(|(_, passage)| passage.queue().name == report.queue);
            if let Some((_, passage)) = passage {
                passage.report(&report, now);
            }
        }
        Ok(())
    }

    /// Returns the state of a queue. A queue that does not exist is empty.
    async fn state(&self, queue: &Queue) -> anyhow::Result<QueueState> {
        let state = self.session.queue_state(queue.name).await;
        Ok(state.with_context(|| Brokers::remedy(self.variable))?.unwrap_or_default())
    }
}
