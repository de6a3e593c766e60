//! Consuming: the only place where messages are settled.

use std::{fmt::Display, pin::pin, slice, sync::Arc, time::Instant};

use contracts::{
    operations::{SubscriptionChange, SubscriptionState},
    topology::{Queue, Replay},
};
use lapin::{
    options::{BasicAckOptions, BasicRejectOptions},
    types::ShortString,
};
use telemetry::{BatchSpan, process_spans};
use tokio::{
    sync::watch,
    time::{self, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Backoff, BuildRequest, ConnectionStatus, GapStatus, Incoming, Rejection, Session, SessionError,
    StreamReader, SubscriptionControl,
    dead_letters::DeadLetters,
    deliveries::Deliveries,
    gap::Gap,
    metrics::{MessagingMetrics, QueueMetrics},
    probe::LastProbe,
    session::with_reply_timeout,
    status::keep_reporting,
    subscription::{Pace, state_of},
};

/// The maximum of messages in one batch.
const MAX_BATCH: usize = 256;

/// The largest sum of the bodies of a batch before its last message, in bytes.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Attempts to publish one dead letter that the broker refuses.
const DEAD_LETTER_ATTEMPTS: usize = 3;

/// The outcome of one message: its effect is durable, or the message can never succeed.
pub type Outcome = Result<(), Rejection>;

/// A server that the handler needs is unavailable. Retrying the same batch can succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl Unavailable {
    /// Converts any error, including its causes.
    pub fn from_error(error: impl Display) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Processes messages. A handler never settles messages: it returns their outcomes.
pub trait Handler {
    /// Processes a batch and returns one outcome for each message, in order.
    ///
    /// The effect of every message with the outcome `Ok` is durable. The same message may come again, so
    /// processing it twice must have the same effect as processing it once.
    ///
    /// # Errors
    /// Returns [`Unavailable`] if the same batch should be retried.
    fn handle(
        &mut self,
        batch: &[Incoming],
    ) -> impl Future<Output = Result<Vec<Outcome>, Unavailable>> + Send;
}

/// A consumer of one queue.
pub struct Consumer<'a> {
    session: &'a Session,
    queue: &'a Queue,
    status: &'a ConnectionStatus,
    deliveries: Deliveries<'a>,
    dead_letters: DeadLetters,
    gap: Option<Gap<'a>>,
    metrics: QueueMetrics,
    control: &'a SubscriptionControl,
    /// The reader of changes of `control`, until the consumer runs.
    reader: Option<StreamReader>,
    changes: watch::Receiver<Option<SubscriptionChange>>,
    /// `None` unless the subscription is throttled.
    pace: Option<Pace>,
    probe: LastProbe,
}

impl<'a> Consumer<'a> {
    /// Declares the queue, starts to consume from it, marks `status` as up, and counts in `metrics`. An operator can
    /// pause the consumer by `control`, also before it starts.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if the queue does not exist and cannot be declared.
    pub async fn start(
        session: &'a Session,
        queue: &'a Queue,
        status: &'a ConnectionStatus,
        control: &'a SubscriptionControl,
        metrics: &MessagingMetrics,
    ) -> Result<Self, SessionError> {
        let (declared, reader) = tokio::join!(session.declare_queue(queue), control.read(session));
        let problem = declared?;
        let mut consumer = Self {
            session,
            queue,
            status,
            deliveries: Deliveries::new(session, queue),
            dead_letters: DeadLetters::new(&session.broker),
            gap: None,
            metrics: metrics.of_queue(queue),
            control,
            reader,
            changes: control.subscribe(),
            pace: None,
            probe: LastProbe::default(),
        };
        if consumer.apply_change() {
            consumer.deliveries.start().await?;
        }
        status.up();
        status.set_problem(problem);
        Ok(consumer)
    }

    /// Returns the consumer with a request for earlier messages. The consumer publishes it if it had to create its
    /// queue, or if an earlier session had to and was interrupted. `None` disables it: `status` then reports the gap.
    ///
    /// The request is repeated until the broker confirms it, so its effect must be idempotent. A queue whose messages
    /// are never sent again has no request.
    #[must_use]
    pub fn with_replay_request(
        mut self,
        request: Option<&'a BuildRequest<'a>>,
        status: &'a GapStatus,
    ) -> Self {
        self.gap = (self.queue.replay != Replay::Never).then(|| Gap::new(self.queue, status, request));
        self
    }

    /// Passes batches to the handler and settles them until shutdown. Shutdown does not interrupt a batch that
    /// the handler is processing.
    ///
    /// # Errors
    /// Returns an error if the session broke. The broker redelivers unsettled messages.
    pub async fn run(
        mut self,
        handler: &mut impl Handler,
        shutdown: &CancellationToken,
    ) -> Result<(), SessionError> {
        let Self { session, queue, status, control, .. } = self;
        let gap = self.gap.take();
        let reader = self.reader.take();
        let probe = self.probe.clone();
        tokio::select! {
            result = Box::pin(self.consume(handler, shutdown)) => result,
            never = Box::pin(session.keep_topology(queue, status, gap)) => match never {},
            never = Box::pin(keep_reporting(session, queue, control, &probe)) => match never {},
            never = Box::pin(control.follow(session, queue, reader)) => match never {},
        }
    }

    async fn consume(
        mut self,
        handler: &mut impl Handler,
        shutdown: &CancellationToken,
    ) -> Result<(), SessionError> {
        while let Some(mut batch) = self.next_batch(shutdown).await? {
            let started = Instant::now();
            // A span that is dropped early, with a failed session, shows when that happened.
            let span = start_spans(self.queue, &mut batch);
            let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };
            self.metrics.processed(batch.len(), started.elapsed());
            end_message_spans(&mut batch, &outcomes);
            let _ack = span.as_ref().map(|span| span.ack(self.queue.name));
            let Some(()) = self.settle(&batch, outcomes, shutdown).await? else { break };
        }
        Ok(())
    }

    /// Waits for a message and adds the messages that have already arrived. Returns `None` on shutdown.
    ///
    /// A batch grows with the load, and no message waits for a batch to fill. After a change by an operator, the consumer
    /// processes the messages that it has already received. Then the change applies.
    async fn next_batch(
        &mut self,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Incoming>>, SessionError> {
        let first = loop {
            // Under load, the wait below never notices a change.
            if self.changes.has_changed().unwrap_or(false) {
                self.stop_for_change().await?;
            }
            if self.deliveries.are_stopped() && !self.restart(shutdown).await? {
                return Ok(None);
            }
            let Self { deliveries, changes, pace, .. } = self;
            let next = async {
                if let Some(pace) = pace {
                    pace.wait().await;
                }
                deliveries.next().await
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                message = next => if let Some(message) = message? { break message },
                _ = changes.changed() => self.stop_for_change().await?,
            }
        };
        let max_batch = self.pace.as_ref().map_or(MAX_BATCH, Pace::max_batch).min(MAX_BATCH);
        let mut bytes = first.body().len();
        let mut batch = vec![first];
        while batch.len() < max_batch
            && bytes < MAX_BATCH_BYTES
            && let Some(message) = self.deliveries.next_ready()?
        {
            bytes += message.body().len();
            batch.push(message);
        }
        if let Some(pace) = &mut self.pace {
            pace.start_batch(batch.len(), time::Instant::now());
        }
        Ok(Some(batch))
    }

    /// Stops the deliveries. Those that have been received are processed without pauses.
    async fn stop_for_change(&mut self) -> Result<(), SessionError> {
        self.pace = None;
        self.deliveries.stop().await
    }

    /// Applies the state of the subscription, and starts the stopped deliveries. While an operator pauses the
    /// subscription, waits for a change. Returns whether they have started: not after a shutdown.
    async fn restart(&mut self, shutdown: &CancellationToken) -> Result<bool, SessionError> {
        while !self.apply_change() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(false),
                () = self.session.wait_closed() => return Err(SessionError::Lost),
                _ = self.changes.changed() => {}
            }
        }
        self.deliveries.start().await?;
        Ok(true)
    }

    /// Applies the state of the subscription while the deliveries are stopped. Returns whether they may start.
    fn apply_change(&mut self) -> bool {
        let state = state_of(self.changes.borrow_and_update().as_ref());
        self.control.apply(state);
        self.metrics.apply(state);
        let rate = match state {
            SubscriptionState::Paused => return false,
            SubscriptionState::Running => None,
            SubscriptionState::Throttled { rate } => Some(rate.get()),
        };
        if rate != self.pace.as_ref().map(Pace::rate) {
            self.pace = rate.map(|rate| Pace::new(self.control, rate));
        }
        self.deliveries.limit_prefetch(self.pace.as_ref().map(Pace::prefetch));
        true
    }

    async fn handle(
        &self,
        handler: &mut impl Handler,
        batch: &[Incoming],
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Outcome>>, SessionError> {
        let outcomes =
            handle_with_retries(&self.metrics, handler, batch, shutdown, self.session.wait_closed()).await;
        self.metrics.hold(0);
        outcomes
    }

    /// Publishes the dead letters, and then settles the whole batch with one ack. Returns `None` if shutdown
    /// comes first.
    ///
    /// The batch contains every delivery up to its last one, so one ack can cover all of them. A crash
    /// between the two steps costs a second dead letter, but no message.
    async fn settle(
        &mut self,
        batch: &[Incoming],
        outcomes: Vec<Outcome>,
        shutdown: &CancellationToken,
    ) -> Result<Option<()>, SessionError> {
        assert_eq!(batch.len(), outcomes.len(), "a handler returns one outcome for each message");
        let started = Instant::now();
        let rejected: Vec<_> = batch
            .iter()
            .zip(outcomes)
            .filter_map(|(message, outcome)| Some((message, outcome.err()?)))
            .collect();
        if !rejected.is_empty() {
            let Some(()) = self.dead_letter(&rejected, shutdown).await? else { return Ok(None) };
        }
        if let Some(last) = batch.last() {
            self.deliveries.grow(batch).await?;
            let options = BasicAckOptions { multiple: true };
            let channel = self.session.channel();
            let ack = channel.basic_ack(last.delivery.delivery_tag, options);
            with_reply_timeout("ack", ack).await?;
        }
        let rejections = rejected.iter().map(|(_, rejection)| rejection);
        self.metrics.settled(batch.len(), rejections, started.elapsed());
        self.deliveries.settled(batch);
        self.probe.settled(self.queue, batch);
        Ok(Some(()))
    }

    /// Publishes dead letters. If the broker does not take all of them, publishes each one alone. Returns `None`
    /// if shutdown comes first.
    async fn dead_letter(
        &mut self,
        rejected: &[(&Incoming, Rejection)],
        shutdown: &CancellationToken,
    ) -> Result<Option<()>, SessionError> {
        if self.dead_letters.publish(self.queue, rejected).await.is_ok() {
            return Ok(Some(()));
        }
        for letter in rejected {
            let Some(()) = self.dead_letter_alone(letter, shutdown).await? else { return Ok(None) };
        }
        Ok(Some(()))
    }

    /// Retries one dead letter until the broker confirms it. While the broker is unreachable, the retries
    /// continue. If the broker refuses this letter, it moves the original to the dead letters itself.
    async fn dead_letter_alone(
        &mut self,
        letter: &(&Incoming, Rejection),
        shutdown: &CancellationToken,
    ) -> Result<Option<()>, SessionError> {
        let mut backoff = Backoff::default();
        let mut refusals = 0;
        loop {
            let error = match self.dead_letters.publish(self.queue, slice::from_ref(letter)).await {
                Ok(()) => return Ok(Some(())),
                Err(error) => error,
            };
            if error.is_refusal() {
                refusals += 1;
                if refusals == DEAD_LETTER_ATTEMPTS {
                    tracing::warn!(
                        queue = self.queue.name,
                        %error,
                        "the broker refuses a dead letter; it dead-letters the original without a reason"
                    );
                    let options = BasicRejectOptions { requeue: false };
                    let channel = self.session.channel();
                    let reject = channel.basic_reject(letter.0.delivery.delivery_tag, options);
                    with_reply_timeout("reject", reject).await?;
                    return Ok(Some(()));
                }
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = shutdown.cancelled() => return Ok(None),
                () = self.session.wait_closed() => return Err(SessionError::Lost),
            }
        }
    }
}

/// Starts the span of a batch and those of its messages, if any of them is sampled.
fn start_spans(queue: &Queue, batch: &mut [Incoming]) -> Option<BatchSpan> {
    let (span, messages) = process_spans(queue.name, batch.iter().map(Incoming::received))?;
    let context: Arc<str> = span.traceparent().into();
    for (message, span) in batch.iter_mut().zip(messages) {
        message.span = span;
        message.batch = Some(Arc::clone(&context));
    }
    Some(span)
}

/// Ends the spans of the messages. A rejection is an error with its code.
fn end_message_spans(batch: &mut [Incoming], outcomes: &[Outcome]) {
    for (message, outcome) in batch.iter_mut().zip(outcomes) {
        let message_id = message.delivery.properties.message_id().as_ref().map(ShortString::as_str);
        tracing::debug!(message_id, trace_id = message.trace_id(), succeeded = outcome.is_ok(), "processed");
        if let (Some(span), Err(rejection)) = (&mut message.span, outcome) {
            span.fail(rejection.code());
        }
        message.span = None;
    }
}

/// Retries a batch until the handler returns its outcomes. Returns `None` if shutdown comes first.
///
/// Meanwhile the batch stays unsettled, and beyond the prefetch the broker sends no more messages. Logs one
/// line when it starts to hold the batch, and one line when the batch has been processed.
async fn handle_with_retries(
    metrics: &QueueMetrics,
    handler: &mut impl Handler,
    batch: &[Incoming],
    shutdown: &CancellationToken,
    session_closed: impl Future<Output = ()>,
) -> Result<Option<Vec<Outcome>>, SessionError> {
    let queue = metrics.queue;
    let mut session_closed = pin!(session_closed);
    let mut backoff = Backoff::default();
    let mut held_since: Option<Instant> = None;
    loop {
        match handler.handle(batch).await {
            Ok(outcomes) => {
                if let Some(since) = held_since {
                    let held_for = format_args!("{:.1}s", since.elapsed().as_secs_f64());
                    tracing::info!(queue, messages = batch.len(), %held_for, "processing messages again");
                }
                return Ok(Some(outcomes));
            }
            Err(unavailable) if held_since.is_none() => {
                tracing::warn!(queue, messages = batch.len(), %unavailable, "holding messages; trying again");
                metrics.hold(batch.len());
                held_since = Some(Instant::now());
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(backoff.next_delay()) => {}
            () = shutdown.cancelled() => return Ok(None),
            () = &mut session_closed => return Err(SessionError::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        io,
        sync::{Arc, Mutex},
    };

    use chrono::Utc;
    use contracts::topology::MARKETING_CREATE_CUSTOMER;
    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;
    use tracing::subscriber::{DefaultGuard, set_default};
    use uuid::Uuid;

    use super::{Handler, Outcome, Unavailable, handle_with_retries};
    use crate::{
        Envelope, Incoming, Outgoing, SessionError,
        metrics::{MessagingMetrics, QueueMetrics},
    };

    /// Is unavailable for a number of calls.
    struct UnavailableFor(usize);

    impl Handler for UnavailableFor {
        async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
            if self.0 == 0 {
                return Ok(batch.iter().map(|_| Ok(())).collect());
            }
            self.0 -= 1;
            Err(Unavailable("the database is down".to_owned()))
        }
    }

    /// Collects the log lines of the current thread.
    ///
    /// Every test of this module starts one. A log statement that is first reached without a subscriber, while
    /// another thread installs one, can remain disabled for the whole process.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn start() -> (Self, DefaultGuard) {
            let log = Self::default();
            let writer = log.clone();
            let format = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
            (log, set_default(format.finish()))
        }

        fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn metrics() -> QueueMetrics {
        MessagingMetrics::register(&mut Registry::default()).of_queue(&MARKETING_CREATE_CUSTOMER)
    }

    fn batch() -> Vec<Incoming> {
        let envelope = Envelope {
            message_id: Uuid::nil(),
            message_type: "test.message.v1".into(),
            correlation_id: String::new(),
            causation_id: None,
            traceparent: String::new(),
            timestamp: Utc::now(),
            app_id: "test",
            is_replay: false,
        };
        let message = Outgoing { exchange: "test", envelope, body: Vec::new() };
        vec![Incoming::from_outgoing(&message), Incoming::from_outgoing(&message)]
    }

    #[tokio::test]
    async fn held_batch_logs_one_line_at_start_and_one_at_end() {
        let (log, _guard) = Log::start();
        let token = CancellationToken::new();
        let outcomes =
            handle_with_retries(&metrics(), &mut UnavailableFor(3), &batch(), &token, pending()).await;
        assert_eq!(outcomes.unwrap(), Some(vec![Ok(()), Ok(())]));
        let lines = log.lines();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("holding messages"), "{}", lines[0]);
        assert!(lines[0].contains("the database is down"), "{}", lines[0]);
        assert!(lines[1].contains("INFO") && lines[1].contains("processing messages again"), "{}", lines[1]);
        for field in ["queue=\"marketing.create-customer\"", "messages=2", "held_for=0."] {
            assert!(lines[1].contains(field), "{field} in {}", lines[1]);
        }
    }

    #[tokio::test]
    async fn batch_without_outage_logs_nothing() {
        let (log, _guard) = Log::start();
        let token = CancellationToken::new();
        let outcomes =
            handle_with_retries(&metrics(), &mut UnavailableFor(0), &batch(), &token, pending()).await;
        assert_eq!(outcomes.unwrap(), Some(vec![Ok(()), Ok(())]));
        assert!(log.lines().is_empty(), "{:#?}", log.lines());
    }

    #[tokio::test]
    async fn shutdown_ends_holding_without_outcomes() {
        let _log = Log::start();
        let token = CancellationToken::new();
        token.cancel();
        let mut handler = UnavailableFor(usize::MAX);
        let outcomes = handle_with_retries(&metrics(), &mut handler, &batch(), &token, pending()).await;
        assert_eq!(outcomes.unwrap(), None);
    }

    #[tokio::test]
    async fn closed_session_ends_holding_with_error() {
        let _log = Log::start();
        let token = CancellationToken::new();
        let mut handler = UnavailableFor(usize::MAX);
        let outcomes = handle_with_retries(&metrics(), &mut handler, &batch(), &token, ready(())).await;
        assert!(matches!(outcomes, Err(SessionError::Lost)));
    }
}
