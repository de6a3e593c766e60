//! The control of subscriptions: operators pause, throttle, and resume the consumers of a queue.
//!
//! The states are messages in the stream [`OPERATIONS_SUBSCRIPTIONS`]. Each message contains the states of all queues of
//! its broker, so a consumer reads only the last one. It follows the stream on a channel of its consumer's connection.
//!
//! The state is known before the first delivery. If it cannot be read, the last known state applies, which is
//! running at the start of a process. A broker or a user without the stream therefore changes nothing.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use contracts::{
    operations::{OPERATIONS_SUBSCRIPTIONS, SubscriptionChange, SubscriptionState, Subscriptions},
    topology::Queue,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    Backoff, Incoming, MessageCopy, PublishOutcome, Session, SessionError, StreamReader,
    topology::QUEUE_NAME_FLUSH_DELAY,
};

/// The time in which the state must be read at the start of a session. After its restart, a broker needs some time until
/// a stream can be read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The time in which the broker delivers the last message of a stream that has one.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// The wait after a refusal. An operator may grant the permission meanwhile.
const REFUSED_DELAY: Duration = Duration::from_mins(1);

/// The interval in which a throttled consumer counts the consumers of its queue.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

const IDLE_INTERVAL: Duration = Duration::from_mins(1);

/// Parts of a second in which a throttled consumer takes one batch.
const BATCHES_PER_SECOND: u32 = 10;

/// The state of one subscription, for its consumer, health checks, and status reports. Clones share it.
#[derive(Debug, Clone)]
pub struct SubscriptionControl(Arc<Control>);

#[derive(Debug)]
struct Control {
    queue: &'static str,
    /// The last change by an operator, or `None` if there is none.
    change: watch::Sender<Option<SubscriptionChange>>,
    /// The state of the consumer, which follows a change after the messages that it had received.
    applied: Mutex<SubscriptionState>,
    /// The number of consumers that share the queue.
    consumers: AtomicU32,
    /// The reason why changes cannot be read.
    problem: Mutex<Option<String>>,
}

impl SubscriptionControl {
    /// Creates the control of a queue that no operator has changed.
    #[must_use]
    pub fn new(queue: &Queue) -> Self {
        Self(Arc::new(Control {
            queue: queue.name,
            change: watch::Sender::default(),
            applied: Mutex::default(),
            consumers: AtomicU32::new(1),
            problem: Mutex::default(),
        }))
    }

    /// Returns the state and the command that ends it. Returns `None` if the subscription runs without a limit, and
    /// operators can change it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let change = self.0.change.borrow().clone();
        let describe = |change: SubscriptionChange| {
            let SubscriptionChange { queue, state, at, operator, why } = change;
            let since = at.format("%Y-%m-%d %H:%M:%S UTC");
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "{queue} is {state} since {since} by {operator}{why}; end this with: \
                 console subscriptions resume {queue}"
            )
        };
        let change = change.filter(|change| change.state != SubscriptionState::Running).map(describe);
        change.or_else(|| self.0.problem.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Returns the problems of several subscriptions as one, or `None` if all of them run without a limit.
    #[must_use]
    pub fn problems<'a>(controls: impl IntoIterator<Item = &'a Self>) -> Option<String> {
        let problems: Vec<_> = controls.into_iter().filter_map(Self::problem).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Returns a receiver that notices each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<SubscriptionChange>> {
        self.0.change.subscribe()
    }

    /// Returns the state that the consumer has applied.
    pub(crate) fn applied(&self) -> SubscriptionState {
        *self.0.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the consumer has applied a state. Logs each change.
    pub(crate) fn apply(&self, state: SubscriptionState) {
        let mut applied = self.0.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if *applied != state {
            tracing::info!(queue = self.0.queue, "the subscription is {state}");
            *applied = state;
        }
    }

    /// Returns the number of messages per second for this consumer: its part of the limit for all consumers.
    fn rate_of_consumer(&self, rate: f64) -> f64 {
        rate / f64::from(self.0.consumers.load(Ordering::Relaxed).max(1))
    }

    /// Reads the state before the consumer starts. Returns the reader of later changes, or `None` if the state cannot be
    /// read.
    pub(crate) async fn read(&self, session: &Session) -> Option<StreamReader> {
        let deadline = Instant::now() + READ_TIMEOUT;
        loop {
            let error = match timeout_at(deadline, self.try_read(session)).await {
                Ok(Ok(reader)) => return Some(reader),
                Ok(Err(error)) => error,
                Err(_) => SessionError::ReplyTimeout("read the state of subscriptions"),
            };
            let is_final = matches!(error, SessionError::Forbidden(_)) || Instant::now() >= deadline;
            if is_final || !session.is_open() {
                self.set_problem(Some(&error));
                return None;
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn try_read(&self, session: &Session) -> Result<StreamReader, SessionError> {
        // Before the stream is read: a later first message arrives as a change.
        let has_message = session.has_exchange(OPERATIONS_SUBSCRIPTIONS).await?;
        session.ensure_stream(OPERATIONS_SUBSCRIPTIONS).await?;
        let mut reader = session.follow_stream(OPERATIONS_SUBSCRIPTIONS).await?;
        // An operator may have deleted the messages with their stream, so their absence is no error.
        if has_message && let Some(message) = reader.next(FIRST_MESSAGE_TIMEOUT).await? {
            self.receive(&message);
            while let Some(message) = reader.next(Duration::ZERO).await? {
                self.receive(&message);
            }
        }
        self.set_problem(None);
        Ok(reader)
    }

    /// Notices changes by operators. Never returns.
    ///
    /// A failure does not affect the consumer: the last known state stays.
    pub(crate) async fn follow(
        &self,
        session: &Session,
        queue: &Queue,
        mut reader: Option<StreamReader>,
    ) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            if let Some(reader) = reader.take() {
                // It ends if the stream is deleted, or with the session.
                let _ = self.receive_all(session, queue, reader).await;
                sleep(backoff.next_delay()).await;
            }
            match self.try_read(session).await {
                Ok(read) => reader = Some(read),
                Err(error) => {
                    if session.is_open() {
                        self.set_problem(Some(&error));
                    }
                    sleep(if error.is_refusal() { REFUSED_DELAY } else { backoff.next_delay() }).await;
                }
            }
        }
    }

    async fn receive_all(
        &self,
        session: &Session,
        queue: &Queue,
        mut reader: StreamReader,
    ) -> Result<Infallible, SessionError> {
        loop {
            let mut interval = IDLE_INTERVAL;
            if matches!(self.state(), SubscriptionState::Throttled { .. }) {
                interval = COUNT_INTERVAL;
                let consumers = session.queue_state(queue.name).await?.map_or(1, |state| state.consumers);
                self.0.consumers.store(consumers, Ordering::Relaxed);
            }
            if let Some(message) = reader.next(interval).await? {
                self.receive(&message);
            }
        }
    }

    fn state(&self) -> SubscriptionState {
        state_of(self.0.change.borrow().as_ref())
    }

    fn receive(&self, message: &Incoming) {
        let subscriptions: Subscriptions = match serde_json::from_slice(message.body()) {
            Ok(subscriptions) => subscriptions,
            Err(error) => {
                tracing::warn!(queue = self.0.queue, %error, "a state of subscriptions cannot be parsed");
                return;
            }
        };
        let Some(change) = subscriptions.of(self.0.queue) else { return };
        self.0.change.send_if_modified(|current| {
            let changed = current.as_ref() != Some(change);
            if changed {
                *current = Some(change.clone());
            }
            changed
        });
    }

    /// Reports whether changes can be read. Logs the first problem.
    fn set_problem(&self, error: Option<&SessionError>) {
        let problem = error.map(|error| {
            format!("{} cannot be paused, because changes cannot be read: {error}", self.0.queue)
        });
        let mut current = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = &problem
            && current.is_none()
        {
            tracing::warn!(queue = self.0.queue, "{problem}");
        }
        *current = problem;
    }
}

impl Session {
    /// Returns the last changes of all subscriptions of the broker. Has no effect on the broker.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing. Returns [`SessionError::Malformed`] if
    /// another release has written an unknown format.
    pub async fn subscriptions(&self) -> Result<Subscriptions, SessionError> {
        let name = OPERATIONS_SUBSCRIPTIONS;
        if !self.has_exchange(name).await? || self.queue_state(name).await?.is_none() {
            return Ok(Subscriptions::default());
        }
        let mut reader = self.follow_stream(name).await?;
        // After this time, the stream is empty: it was deleted and declared again.
        let Some(mut last) = reader.next(READ_TIMEOUT).await? else { return Ok(Subscriptions::default()) };
        while let Some(message) = reader.next(Duration::ZERO).await? {
            last = message;
        }
        serde_json::from_slice(last.body()).map_err(|_| SessionError::Malformed(name))
    }

    /// Publishes the last changes of all subscriptions of the broker. Their consumers apply them within about a second.
    ///
    /// The caller holds a lock, so that no other change comes between [`Session::subscriptions`] and this one.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing. The broker may have taken the message.
    pub async fn publish_subscriptions(
        &self,
        subscriptions: &Subscriptions,
    ) -> Result<PublishOutcome, SessionError> {
        let name = OPERATIONS_SUBSCRIPTIONS;
        self.declare_stream(name).await?;
        if !self.has_exchange(name).await? {
            // A consumer may have declared the stream just before.
            sleep(QUEUE_NAME_FLUSH_DELAY).await;
            self.declare_direct_exchange(name).await?;
        }
        self.bind_by_name(name, name).await?;
        let body = serde_json::to_vec(subscriptions).unwrap_or_default();
        let message = MessageCopy::new(body);
        self.publish_copies(name, &[(name.to_owned(), message)]).await
    }
}

/// Returns the state after a change, or without one.
pub(crate) fn state_of(change: Option<&SubscriptionChange>) -> SubscriptionState {
    change.map_or(SubscriptionState::Running, |change| change.state)
}

/// The pace of a throttled consumer: small batches with pauses between them, and no bursts after silence.
#[derive(Debug)]
pub(crate) struct Pace {
    control: SubscriptionControl,
    /// Messages per second of all consumers together.
    rate: u32,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(control: &SubscriptionControl, rate: u32) -> Self {
        Self { control: control.clone(), rate, next: Instant::now() }
    }

    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Returns the maximum of unsettled messages: one batch that is being handled and one on its way.
    pub(crate) fn prefetch(&self) -> u16 {
        u16::try_from((self.rate / BATCHES_PER_SECOND).max(1) * 2).unwrap_or(u16::MAX)
    }

    /// Returns the maximum of messages in one batch.
    pub(crate) fn max_batch(&self) -> usize {
        (self.rate / BATCHES_PER_SECOND).max(1) as usize
    }

    /// Waits until the next batch may start.
    pub(crate) async fn wait(&self) {
        sleep_until(self.next).await;
    }

    /// Notes that a batch starts.
    pub(crate) fn start_batch(&mut self, messages: usize, now: Instant) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let rate = self.control.rate_of_consumer(self.rate.into());
        self.next = self.next.max(now) + Duration::from_secs_f64(f64::from(messages) / rate);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use contracts::{
        operations::{SubscriptionChange, SubscriptionState},
        topology::MARKETING_CREATE_CUSTOMER,
    };
    use serde_json::json;
    use tokio::time::Instant;

    use super::{Pace, SubscriptionControl};
    use crate::MessageCopy;

    fn receive(control: &SubscriptionControl, changes: &[SubscriptionChange]) {
        let body = json!({ "subscriptions": changes }).to_string().into_bytes();
        control.receive(&MessageCopy::new(body).received());
    }

    fn change(queue: &str, state: SubscriptionState) -> SubscriptionChange {
        SubscriptionChange {
            queue: queue.to_owned(),
            state,
            at: DateTime::UNIX_EPOCH,
            operator: "ann".to_owned(),
            why: Some("a test".to_owned()),
        }
    }

    #[test]
    fn health_reports_cause_and_command() {
        let control = SubscriptionControl::new(&MARKETING_CREATE_CUSTOMER);
        let mut changes = control.subscribe();
        let queue = MARKETING_CREATE_CUSTOMER.name;
        receive(&control, &[change("marketing.other", SubscriptionState::Paused)]);
        assert_eq!(control.problem(), None);
        assert!(!changes.has_changed().unwrap());
        receive(&control, &[change(queue, SubscriptionState::Paused)]);
        assert_eq!(
            SubscriptionControl::problems([&control]).unwrap(),
            "marketing.create-customer is paused since 1970-01-01 00:00:00 UTC by ann (a test); \
             end this with: console subscriptions resume marketing.create-customer"
        );
        changes.mark_unchanged();
        receive(&control, &[change(queue, SubscriptionState::Paused)]);
        assert!(!changes.has_changed().unwrap(), "the same change");
        receive(&control, &[change(queue, SubscriptionState::Running)]);
        assert_eq!(control.problem(), None);
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn pace_limits_every_second_also_after_silence() {
        let control = SubscriptionControl::new(&MARKETING_CREATE_CUSTOMER);
        let mut pace = Pace::new(&control, 50);
        assert_eq!((pace.max_batch(), pace.prefetch()), (5, 10));
        let mut now = Instant::now() + Duration::from_mins(1);
        for consumers in [1, 2] {
            control.0.consumers.store(consumers, super::Ordering::Relaxed);
            let start = now;
            let mut messages = 0;
            while now - start < Duration::from_secs(10) {
                pace.start_batch(5, now);
                messages += 5;
                now = pace.next;
            }
            assert!((500 / consumers..=500 / consumers + 5).contains(&messages), "{messages}");
            now += Duration::from_mins(1);
        }
    }
}
