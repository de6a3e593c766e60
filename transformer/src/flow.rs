//! Runs one route: consume at the source, publish at the target, ack once the target has confirmed.

use messaging::{
    BrokerUrl, ConnectionStatus, Consumer, Handler, Incoming, Outcome, Outgoing, PublishOutcome, Session,
    SessionError, Unavailable,
};
use tokio_util::sync::CancellationToken;

use crate::route::Route;

/// One session of a route: until shutdown, or until either broker's connection breaks.
///
/// The target comes first: while it is away nothing is taken from the source, where waiting costs
/// nothing, whereas each delivery that comes to nothing counts against the broker's delivery limit.
///
/// # Errors
/// A broker broke. What was not acknowledged will come again.
pub async fn session(
    route: &Route,
    source: &BrokerUrl,
    target: &BrokerUrl,
    link: &ConnectionStatus,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let target = Session::open_publisher(target, "transformer target").await?;
    target.declare_exchange(route.exchange).await?;
    let source = Session::open(source, "transformer source").await?;
    let consumer = Consumer::start(&source, &route.queue).await?;
    link.up();
    let mut translation = Translation { route, target: &target };
    tokio::select! {
        ended = consumer.run(&mut translation, shutdown) => ended?,
        () = target.wait_closed() => return Err(SessionError::Lost.into()),
    }
    source.close().await;
    target.close().await;
    Ok(())
}

struct Translation<'a> {
    route: &'a Route,
    target: &'a Session,
}

impl Handler for Translation<'_> {
    /// Translates all, publishes what can be, and reports an event as done when its command is confirmed.
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let mut commands: Vec<Outgoing> = Vec::with_capacity(batch.len());
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
        for message in batch {
            let translated = (self.route.translate)(self.route, message);
            outcomes.push(translated.map(|command| commands.push(command)));
        }
        let receipts = self.target.publish(&commands).await.map_err(Unavailable::from_error)?;
        match receipts.iter().find(|receipt| **receipt != PublishOutcome::Confirmed) {
            None => Ok(outcomes),
            Some(receipt) => Err(Unavailable(format!("the target broker answered {receipt:?} to a command"))),
        }
    }
}
