//! From a command to the commit of its customer: the sessions of the subscriptions, and their handler.

use std::sync::{Arc, Mutex, PoisonError};

use contracts::{CustomersRequested, operations::is_probe_of, topology::Queue};
use messaging::{
    BrokerUrl, BuildRequest, ConnectionStatus, Consumer, GapStatus, Handler, Incoming, Outcome, Outgoing,
    Rejection, Session, SubscriptionControl, Unavailable,
};
use tokio_util::sync::CancellationToken;

use crate::{
    customer::Customer,
    metrics::{Metrics, Occurrence},
    mysql::{DatabaseUrl, MysqlError},
    schema,
    store::{SaveError, Store},
    subscriptions::Subscription,
};

/// The reason for which a subscription holds its batch, for health checks. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HoldReason(Arc<Mutex<Option<String>>>);

impl HoldReason {
    /// Returns the reason, or `None` while the subscription saves its batches.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// The state of a subscription, for health checks. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SubscriptionStatus {
    pub(crate) connection: ConnectionStatus,
    pub(crate) hold_reason: HoldReason,
    pub(crate) gap: GapStatus,
    pub(crate) control: SubscriptionControl,
}

impl SubscriptionStatus {
    pub(crate) fn new(subscription: &Subscription) -> Self {
        Self {
            connection: ConnectionStatus::new(subscription.queue.name),
            hold_reason: HoldReason::default(),
            gap: GapStatus::new(&subscription.queue),
            control: SubscriptionControl::new(&subscription.queue),
        }
    }
}

/// Returns a new event that asks the senders of a subscription's commands to send them again.
pub(crate) fn replay_request(subscription: &Subscription) -> Outgoing {
    let command_type = subscription.queue.routing_key.to_owned();
    Outgoing::first(&CustomersRequested { command_type }, "marketing")
}

/// Runs one session of a subscription until shutdown.
///
/// It publishes `replay_request` if it has to create its queue. `None` disables that.
///
/// It checks the database first, because it must not take messages while MySQL is unavailable.
///
/// # Errors
/// Returns an error if MySQL is unavailable at the start or the broker connection breaks. The broker delivers
/// unacknowledged messages again.
pub(crate) async fn session(
    subscription: &Subscription,
    database: &DatabaseUrl,
    broker: &BrokerUrl,
    replay_request: Option<&BuildRequest<'_>>,
    status: &SubscriptionStatus,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    status.hold_reason.set(None);
    schema::check(database).await?;
    let session = Session::open(broker, "marketing").await?;
    let SubscriptionStatus { connection, control, .. } = status;
    let consumer =
        Consumer::start(&session, &subscription.queue, connection, control, &metrics.messaging).await?;
    let consumer = consumer.with_replay_request(replay_request, &status.gap);
    let store = Store::new(database.clone());
    let mut handler = SaveCustomers { subscription, store, hold_reason: status.hold_reason.clone(), metrics };
    consumer.run(&mut handler, shutdown).await?;
    session.close().await;
    Ok(())
}

/// Saves the customers of a batch, and returns one outcome per message.
struct SaveCustomers<'a> {
    subscription: &'a Subscription,
    store: Store,
    hold_reason: HoldReason,
    metrics: &'a Metrics,
}

impl Handler for SaveCustomers<'_> {
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let Queue { name, routing_key, .. } = self.subscription.queue;
        let is_probe = |message: &&Incoming| is_probe_of(routing_key, message.message_type());
        let commands: Vec<_> = batch.iter().filter(|message| !is_probe(message)).collect();
        let saved = if commands.is_empty() {
            // Without commands, a probe shows that the database accepts writes.
            schema::check(self.store.database()).await.map(|()| Vec::new()).map_err(Unavailable::from_error)
        } else {
            self.save(&commands).await.map_err(Unavailable::from_error)
        };
        self.hold_reason.set(saved.as_ref().err().map(ToString::to_string));
        let mut saved = saved?.into_iter();
        let outcomes = batch.iter().map(|message| {
            if is_probe(&message) {
                self.metrics.probes.arrived(name, message)
            } else {
                saved.next().expect("each command has an outcome")
            }
        });
        Ok(outcomes.collect())
    }
}

impl SaveCustomers<'_> {
    /// Saves the batch in one statement. If MySQL rejects the batch, saves the customers individually, so
    /// that a rejected customer does not affect the others.
    async fn save(&mut self, commands: &[&Incoming]) -> Result<Vec<Outcome>, MysqlError> {
        let customers: Vec<_> = commands.iter().map(|message| (self.subscription.parse)(message)).collect();
        let occurrence = |(message, customer): (&&Incoming, &Result<Customer, Rejection>)| {
            customer.as_ref().ok().map(|customer| Occurrence::of(message, customer))
        };
        let occurrences: Vec<_> = commands.iter().zip(&customers).map(occurrence).collect();
        let trace = commands.first().and_then(|message| message.batch_traceparent());
        let outcomes = self.save_customers(customers, trace).await?;
        let saved = occurrences.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        self.metrics.committed(&self.subscription.queue, saved.filter_map(|(occurrence, _)| occurrence));
        Ok(outcomes)
    }

    async fn save_customers(
        &mut self,
        customers: Vec<Result<Customer, Rejection>>,
        trace: Option<&str>,
    ) -> Result<Vec<Outcome>, MysqlError> {
        let valid: Vec<&Customer> = customers.iter().flatten().collect();
        match self.store.save(&valid, trace).await {
            Ok(()) => Ok(customers.into_iter().map(|customer| customer.map(drop)).collect()),
            Err(SaveError::Rejected(_)) => self.save_individually(customers, trace).await,
            Err(SaveError::Unavailable(error)) => Err(error),
        }
    }

    async fn save_individually(
        &mut self,
        customers: Vec<Result<Customer, Rejection>>,
        trace: Option<&str>,
    ) -> Result<Vec<Outcome>, MysqlError> {
        let mut outcomes = Vec::with_capacity(customers.len());
        for customer in customers {
            outcomes.push(match customer {
                Ok(customer) => self.save_one(&customer, trace).await?,
                Err(rejection) => Err(rejection),
            });
        }
        Ok(outcomes)
    }

    /// Saves one customer. If MySQL rejects it, a second attempt attributes the rejection.
    async fn save_one(&mut self, customer: &Customer, trace: Option<&str>) -> Result<Outcome, MysqlError> {
        let mut saved = self.store.save(&[customer], trace).await;
        if matches!(saved, Err(SaveError::Rejected(_))) {
            saved = self.store.save_or_attribute(customer).await;
        }
        match saved {
            Ok(()) => Ok(Ok(())),
            Err(SaveError::Rejected(reason)) => Ok(Err(Rejection::RuleBroken(reason))),
            Err(SaveError::Unavailable(error)) => Err(error),
        }
    }
}
