//! Runs one flow: consumes at the source, publishes at the target, and acks after the target's confirm.
//!
//! The two connections are supervised separately. If the target fails, the flow keeps its session at the source,
//! and its messages in flight: a failed session would charge each of them with a delivery.

use std::{collections::HashSet, sync::Arc};

use anyhow::Context;
use messaging::{
    BrokerUrl, BuildRequest, ConnectionStatus, Consumer, GapStatus, Handler, Incoming, MessagingMetrics,
    Outcome, Outgoing, PublishOutcome, Session, SessionError, SubscriptionControl, Unavailable, supervise,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    flow::{Direction, FlowEntry},
    replay::request_for,
};

/// The connections of a flow, the gap of its queue, and the state of its subscription, for health reports.
#[derive(Debug, Clone)]
pub(crate) struct FlowStatus {
    pub(crate) source: ConnectionStatus,
    pub(crate) target: ConnectionStatus,
    pub(crate) gap: GapStatus,
    pub(crate) control: SubscriptionControl,
}

impl FlowStatus {
    pub(crate) fn new(flow: &FlowEntry) -> Self {
        Self {
            source: ConnectionStatus::new(flow.queue.name),
            target: ConnectionStatus::new(flow.name),
            gap: GapStatus::new(&flow.queue),
            control: SubscriptionControl::new(&flow.queue),
        }
    }
}

/// The current session at the target, or `None` while the target is unavailable.
type TargetSession = Option<Arc<Session>>;

/// The settings that all flows share.
#[derive(Debug, Clone)]
pub(crate) struct Brokers {
    pub(crate) source: BrokerUrl,
    pub(crate) target: BrokerUrl,
    /// Whether a new queue requests earlier events.
    pub(crate) replay_on_new_queue: bool,
}

/// Runs a flow until shutdown. It consumes at the broker where it starts, its source here, and publishes at its target.
pub(crate) async fn run(
    flow: &FlowEntry,
    brokers: &Brokers,
    status: &FlowStatus,
    metrics: &MessagingMetrics,
    shutdown: &CancellationToken,
) {
    let (source, target) = match flow.direction {
        Direction::SourceToTarget => (&brokers.source, &brokers.target),
        Direction::TargetToSource => (&brokers.target, &brokers.source),
    };
    let build_request = || request_for(flow);
    let request = brokers.replay_on_new_queue.then_some(&build_request as &BuildRequest<'_>);
    let (current, connected) = watch::channel(None);
    // The target's session outlives the source's, which finishes its batch in flight.
    let consumed = CancellationToken::new();
    let publish = supervise(&status.target, &consumed, || {
        keep_target(flow, target, &status.target, metrics, &current, &consumed)
    });
    let consume = async {
        supervise(&status.source, shutdown, || {
            consume(flow, source, connected.clone(), request, status, metrics, shutdown)
        })
        .await;
        consumed.cancel();
    };
    tokio::join!(consume, publish);
}

/// Provides a session at the target until it fails, or until the source has finished.
async fn keep_target(
    flow: &FlowEntry,
    target: &BrokerUrl,
    status: &ConnectionStatus,
    metrics: &MessagingMetrics,
    current: &watch::Sender<TargetSession>,
    consumed: &CancellationToken,
) -> anyhow::Result<()> {
    let session = Session::open_publisher(target, "transformer target").await?.with_metrics(metrics);
    let session = Arc::new(session);
    session.declare_exchange(flow.exchange).await?;
    current.send_replace(Some(Arc::clone(&session)));
    status.up();
    let ended = tokio::select! {
        () = session.wait_closed() => Err(SessionError::Lost.into()),
        () = consumed.cancelled() => Ok(()),
    };
    current.send_replace(None);
    session.close().await;
    ended
}

/// Runs one session at the source until shutdown, or until its connection fails.
///
/// The session starts after the target is available, so that it takes no event that it cannot forward.
///
/// # Errors
/// Returns an error if the source fails. It then delivers the unacknowledged events again.
async fn consume(
    flow: &FlowEntry,
    source: &BrokerUrl,
    mut target: watch::Receiver<TargetSession>,
    request: Option<&BuildRequest<'_>>,
    status: &FlowStatus,
    metrics: &MessagingMetrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        available = target.wait_for(Option::is_some) => drop(available.context("the target has stopped")?),
        () = shutdown.cancelled() => return Ok(()),
    }
    let session = Session::open(source, "transformer source").await?;
    let FlowStatus { source: connection, control, .. } = status;
    let consumer = Consumer::start(&session, &flow.queue, connection, control, metrics).await?;
    let consumer = consumer.with_replay_request(request, &status.gap);
    consumer.run(&mut Forwarder { flow, target, confirmed: HashSet::new() }, shutdown).await?;
    session.close().await;
    Ok(())
}

struct Forwarder<'a> {
    flow: &'a FlowEntry,
    target: watch::Receiver<TargetSession>,
    /// The confirmed commands of a batch that is retried.
    confirmed: HashSet<Uuid>,
}

impl Handler for Forwarder<'_> {
    /// Publishes the commands of a batch. An event succeeds only after its command is confirmed.
    ///
    /// A retry of the batch publishes only the commands that the target has not confirmed.
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let mut commands: Vec<Outgoing> = Vec::with_capacity(batch.len());
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
        for event in batch {
            let command = (self.flow.forward)(event);
            outcomes.push(command.map(|command| {
                commands
                    .extend(command.filter(|command| !self.confirmed.contains(&command.envelope.message_id)));
            }));
        }
        let session = self.target.borrow().clone();
        let session = session.ok_or_else(|| Unavailable("the target broker is not connected".to_owned()))?;
        let published = session.publish(&commands).await.map_err(Unavailable::from_error)?;
        let refused = published.iter().find(|outcome| **outcome != PublishOutcome::Confirmed);
        let Some(refused) = refused else {
            self.confirmed.clear();
            return Ok(outcomes);
        };
        let confirmed = commands.iter().zip(&published);
        let confirmed = confirmed.filter(|(_, outcome)| **outcome == PublishOutcome::Confirmed);
        self.confirmed.extend(confirmed.map(|(command, _)| command.envelope.message_id));
        Err(Unavailable(format!("the target broker did not take a command: {refused:?}")))
    }
}
