//! Runs one flow: consumes at the source, publishes at the target, and acks after the target's confirm.

use messaging::{
    BrokerUrl, ConnectionStatus, Consumer, Handler, Incoming, Outcome, Outgoing, PublishOutcome, Session,
    SessionError, Unavailable,
};
use tokio_util::sync::CancellationToken;

use crate::flow::FlowEntry;

/// Runs one session of a flow until shutdown, or until the connection to either broker fails.
///
/// The session connects to the target first. While the target is unavailable, events stay in their queue,
/// where they do not count against the delivery limit.
///
/// # Errors
/// Returns an error if a broker fails. The source then delivers the unacknowledged events again.
pub(crate) async fn session(
    flow: &FlowEntry,
    source: &BrokerUrl,
    target: &BrokerUrl,
    status: &ConnectionStatus,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let target = Session::open_publisher(target, "transformer target").await?;
    target.declare_exchange(flow.exchange).await?;
    let source = Session::open(source, "transformer source").await?;
    let consumer = Consumer::start(&source, &flow.queue).await?;
    status.up();
    let mut forwarder = Forwarder { flow, target: &target };
    tokio::select! {
        ended = consumer.run(&mut forwarder, shutdown) => ended?,
        () = target.wait_closed() => return Err(SessionError::Lost.into()),
    }
    source.close().await;
    target.close().await;
    Ok(())
}

struct Forwarder<'a> {
    flow: &'a FlowEntry,
    target: &'a Session,
}

impl Handler for Forwarder<'_> {
    /// Publishes the commands of a batch. An event succeeds only after its command is confirmed.
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let mut commands: Vec<Outgoing> = Vec::with_capacity(batch.len());
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
        for event in batch {
            outcomes.push((self.flow.forward)(event).map(|command| commands.push(command)));
        }
        let published = self.target.publish(&commands).await.map_err(Unavailable::from_error)?;
        match published.iter().find(|outcome| **outcome != PublishOutcome::Confirmed) {
            None => Ok(outcomes),
            Some(outcome) => {
                Err(Unavailable(format!("the target broker did not take a command: {outcome:?}")))
            }
        }
    }
}
