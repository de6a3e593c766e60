//! Consuming, and the only place where a message is settled.

use std::fmt::Display;

use contracts::topology::Queue;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Incoming, Rejection, Session, SessionError, session::answered};

/// The most messages that a handler gets at once.
const BATCH: usize = 256;

/// The most messages that the broker hands out unsettled: one batch in hand and one on its way.
const PREFETCH: u16 = 512;

/// What became of one message: its effect is durable, or it can never have one.
pub type Outcome = Result<(), Rejection>;

/// What the handler needs is away; the same batch is worth another try.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl Unavailable {
    /// From any error, with all its causes.
    pub fn from_error(error: impl Display) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Carries out what messages ask for. It never settles them: it says what became of them.
pub trait Handler {
    /// One outcome for each message, in order. Everything that is reported as done is durable by then.
    ///
    /// It may be given the same message again: doing it twice must have the effect of once.
    fn handle(
        &mut self,
        batch: &[Incoming],
    ) -> impl Future<Output = Result<Vec<Outcome>, Unavailable>> + Send;
}

/// A consumer of one queue.
pub struct Consumer<'a> {
    session: &'a Session,
    queue: &'a Queue,
    deliveries: lapin::Consumer,
}

impl<'a> Consumer<'a> {
    /// Declares the queue and starts to consume from it.
    ///
    /// # Errors
    /// The session broke.
    pub async fn start(session: &'a Session, queue: &'a Queue) -> Result<Self, SessionError> {
        session.declare_queue(queue).await?;
        let channel = &session.channel;
        answered("prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            queue.name.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = answered("consume", consume).await?;
        Ok(Self { session, queue, deliveries })
    }

    /// Hands batches to the handler and settles them, until shutdown; what is in hand is finished.
    ///
    /// # Errors
    /// The session broke. What was not settled will be delivered again.
    pub async fn run(
        mut self,
        handler: &mut impl Handler,
        shutdown: &CancellationToken,
    ) -> Result<(), SessionError> {
        while let Some(batch) = self.next_batch(shutdown).await? {
            let Some(outcomes) = self.handle(handler, &batch, shutdown).await? else { break };
            self.settle(&batch, outcomes).await?;
        }
        Ok(())
    }

    /// Waits for a message and takes what else is there already: a batch grows with the load, and
    /// nobody waits for it to fill.
    async fn next_batch(
        &mut self,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Incoming>>, SessionError> {
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            delivery = self.deliveries.next() => self.received(delivery)?,
        };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Some(delivery) = self.deliveries.next().now_or_never()
        {
            batch.push(self.received(delivery)?);
        }
        Ok(Some(batch))
    }

    fn received(&self, delivery: Option<lapin::Result<Delivery>>) -> Result<Incoming, SessionError> {
        let delivery = delivery.ok_or(SessionError::Cancelled(self.queue.name))??;
        Ok(Incoming { delivery })
    }

    /// Tries until the batch is done, the session is over, or it is time to leave (`None`). Meanwhile
    /// the batch stays unsettled, and beyond the prefetch the broker sends no more.
    async fn handle(
        &self,
        handler: &mut impl Handler,
        batch: &[Incoming],
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Outcome>>, SessionError> {
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            let unavailable = match handler.handle(batch).await {
                Ok(outcomes) => return Ok(Some(outcomes)),
                Err(unavailable) => unavailable,
            };
            if !told {
                tracing::warn!(queue = self.queue.name, messages = batch.len(), %unavailable, "holding messages; trying again");
                told = true;
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = shutdown.cancelled() => return Ok(None),
                () = self.session.wait_closed() => return Err(SessionError::Lost),
            }
        }
    }

    /// Dead letters first, then one ack for the whole batch: it has every delivery up to its last, so
    /// the ack can cover them all, and a crash in between costs a second dead letter and not a message.
    async fn settle(&self, batch: &[Incoming], outcomes: Vec<Outcome>) -> Result<(), SessionError> {
        assert_eq!(batch.len(), outcomes.len(), "a handler reports on every message");
        let rejected: Vec<_> = batch
            .iter()
            .zip(outcomes)
            .filter_map(|(message, outcome)| Some((message, outcome.err()?)))
            .collect();
        if !rejected.is_empty() {
            self.session.dead_letter(self.queue, &rejected).await?;
        }
        if let Some(last) = batch.last() {
            let options = BasicAckOptions { multiple: true };
            answered("ack", self.session.channel.basic_ack(last.delivery.delivery_tag, options)).await?;
        }
        Ok(())
    }
}
