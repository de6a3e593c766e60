//! From a command to the commit of its customer: the subscriptions, their sessions, and their handler.

use contracts::topology::{MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue};
use messaging::{
    BrokerUrl, ConnectionStatus, Consumer, Handler, Incoming, Outcome, Rejection, Session, Unavailable,
};
use sqlx::mysql::MySqlConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::{
    customer::Customer,
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

/// Runs one session of a subscription until shutdown.
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
    status: &ConnectionStatus,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    schema::check(database).await?;
    let session = Session::open(broker, "marketing").await?;
    let consumer = Consumer::start(&session, &subscription.queue, status).await?;
    let mut handler = SaveCustomers { parse: subscription.parse, store: Store::new(database.clone()) };
    consumer.run(&mut handler, shutdown).await?;
    session.close().await;
    Ok(())
}

/// Saves the customers of a batch, and returns one outcome per message.
struct SaveCustomers {
    parse: fn(&Incoming) -> Result<Customer, Rejection>,
    store: Store,
}

impl Handler for SaveCustomers {
    /// Saves the batch in one statement. If MySQL rejects the batch, saves the customers individually, so
    /// that a rejected customer does not affect the others.
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let customers: Vec<_> = batch.iter().map(self.parse).collect();
        let valid: Vec<&Customer> = customers.iter().flatten().collect();
        match self.store.save(&valid).await {
            Ok(()) => Ok(customers.into_iter().map(|customer| customer.map(drop)).collect()),
            Err(SaveError::Rejected(_)) => self.save_individually(customers).await,
            Err(SaveError::Unavailable(error)) => Err(Unavailable::from_error(error)),
        }
    }
}

impl SaveCustomers {
    async fn save_individually(
        &mut self,
        customers: Vec<Result<Customer, Rejection>>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let mut outcomes = Vec::with_capacity(customers.len());
        for customer in customers {
            outcomes.push(match customer {
                Ok(customer) => self.save_one(&customer).await?,
                Err(rejection) => Err(rejection),
            });
        }
        Ok(outcomes)
    }

    async fn save_one(&mut self, customer: &Customer) -> Result<Outcome, Unavailable> {
        match self.store.save(&[customer]).await {
            Ok(()) => Ok(Ok(())),
            Err(SaveError::Rejected(reason)) => Ok(Err(Rejection::RuleBroken(reason))),
            Err(SaveError::Unavailable(error)) => Err(Unavailable::from_error(error)),
        }
    }
}
