//! Consumes the command `EraseCustomer`.

use std::time::Duration;

use contracts::{EraseCustomer, topology::WEB_STORE_ERASE_CUSTOMER};
use messaging::{
    BrokerUrl, ConnectionStatus, Consumer, Handler, Incoming, MessagingMetrics, Outcome, Rejection, Session,
    SubscriptionControl, Unavailable,
};
use tokio_util::sync::CancellationToken;

use super::erased_customer::erase;
use crate::{
    postgres::{DatabaseUrl, Pool},
    relay::Relay,
};

/// The limit for erasing one customer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one session that erases customers, until shutdown or until the first error.
///
/// # Errors
/// Returns an error if the broker fails. It then delivers unsettled commands again.
pub(crate) async fn session(
    database: &DatabaseUrl,
    broker: &BrokerUrl,
    relay: &Relay,
    metrics: &MessagingMetrics,
    status: &ConnectionStatus,
    control: &SubscriptionControl,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let session = Session::open(broker, "web-store erasures").await?;
    let consumer = Consumer::start(&session, &WEB_STORE_ERASE_CUSTOMER, status, control, metrics).await?;
    // One connection, which opens with the first command.
    let connections = Pool::new(database.clone(), 1, QUERY_TIMEOUT, "");
    consumer.run(&mut EraseCustomers { connections, relay }, shutdown).await?;
    session.close().await;
    Ok(())
}

/// Returns the reason why a command `EraseCustomer` can never succeed.
///
/// # Errors
/// Returns the [`Rejection`] with which the Web Store would dead-letter the command.
pub fn check_erase_request(message: &Incoming) -> Result<(), Rejection> {
    message.parse::<EraseCustomer>().map(drop)
}

struct EraseCustomers<'a> {
    connections: Pool,
    relay: &'a Relay,
}

impl Handler for EraseCustomers<'_> {
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for message in batch {
            outcomes.push(match message.parse::<EraseCustomer>() {
                Ok(command) => self.erase(&command, message).await.map(Ok)?,
                Err(rejection) => Err(rejection),
            });
        }
        self.relay.wake.notify_one();
        Ok(outcomes)
    }
}

impl EraseCustomers<'_> {
    async fn erase(&self, command: &EraseCustomer, message: &Incoming) -> Result<(), Unavailable> {
        let customer = command.customer_id;
        let trace = message.traceparent();
        let erase = async |connection: &mut _| erase(connection, customer, trace.as_deref()).await;
        let is_new = self.connections.run(erase).await.map_err(Unavailable::from_error)?;
        if is_new {
            tracing::info!(%customer, "erased a customer");
        }
        Ok(())
    }
}
