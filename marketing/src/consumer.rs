//! From a command to the commit of its customer: the subscriptions, their sessions, and their handler.

use std::sync::{Arc, Mutex, PoisonError};

use contracts::{
    CustomersRequested,
    topology::{MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue},
};
use messaging::{
    BrokerUrl, BuildRequest, ConnectionStatus, Consumer, GapStatus, Handler, Incoming, Outcome, Outgoing,
    Rejection, Session, Unavailable,
};
use sqlx::mysql::MySqlConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::{
    customer::Customer,
    mysql::MysqlError,
    schema,
    store::{SaveError, Store},
};

/// A queue and the parser of its commands.
///
/// Each command has its own queue and its own session, so a command that cannot be saved does not delay the
/// others.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// Queue with one type of command.
    pub queue: Queue,
    /// Parses a command of that type into a customer.
    pub parse: fn(&Incoming) -> Result<Customer, Rejection>,
}

/// All subscriptions of Marketing.
pub const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        queue: MARKETING_CREATE_CUSTOMER,
        parse: |message| Customer::created(message.parse()?), //
    },
    Subscription {
        queue: MARKETING_UPDATE_CUSTOMER,
        parse: |message| Customer::updated(message.parse()?), //
    },
];

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
}

impl SubscriptionStatus {
    pub(crate) fn new(subscription: &Subscription) -> Self {
        Self {
            connection: ConnectionStatus::new(subscription.queue.name),
            hold_reason: HoldReason::default(),
            gap: GapStatus::new(&subscription.queue),
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
    database: &MySqlConnectOptions,
    broker: &BrokerUrl,
    replay_request: Option<&BuildRequest<'_>>,
    status: &SubscriptionStatus,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    status.hold_reason.set(None);
    schema::check(database).await?;
    let session = Session::open(broker, "marketing").await?;
    let consumer = Consumer::start(&session, &subscription.queue, &status.connection).await?;
    let consumer = consumer.with_replay_request(replay_request, &status.gap);
    let store = Store::new(database.clone());
    let mut handler =
        SaveCustomers { parse: subscription.parse, store, hold_reason: status.hold_reason.clone() };
    consumer.run(&mut handler, shutdown).await?;
    session.close().await;
    Ok(())
}

/// Saves the customers of a batch, and returns one outcome per message.
struct SaveCustomers {
    parse: fn(&Incoming) -> Result<Customer, Rejection>,
    store: Store,
    hold_reason: HoldReason,
}

impl Handler for SaveCustomers {
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let outcomes = self.save(batch).await;
        self.hold_reason.set(outcomes.as_ref().err().map(ToString::to_string));
        outcomes.map_err(Unavailable::from_error)
    }
}

impl SaveCustomers {
    /// Saves the batch in one statement. If MySQL rejects the batch, saves the customers individually, so
    /// that a rejected customer does not affect the others.
    async fn save(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, MysqlError> {
        let customers: Vec<_> = batch.iter().map(self.parse).collect();
        let valid: Vec<&Customer> = customers.iter().flatten().collect();
        match self.store.save(&valid).await {
            Ok(()) => Ok(customers.into_iter().map(|customer| customer.map(drop)).collect()),
            Err(SaveError::Rejected(_)) => self.save_individually(customers).await,
            Err(SaveError::Unavailable(error)) => Err(error),
        }
    }

    async fn save_individually(
        &mut self,
        customers: Vec<Result<Customer, Rejection>>,
    ) -> Result<Vec<Outcome>, MysqlError> {
        let mut outcomes = Vec::with_capacity(customers.len());
        for customer in customers {
            outcomes.push(match customer {
                Ok(customer) => self.save_one(&customer).await?,
                Err(rejection) => Err(rejection),
            });
        }
        Ok(outcomes)
    }

    /// Saves one customer. If MySQL rejects it, a second attempt attributes the rejection.
    async fn save_one(&mut self, customer: &Customer) -> Result<Outcome, MysqlError> {
        let mut saved = self.store.save(&[customer]).await;
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
