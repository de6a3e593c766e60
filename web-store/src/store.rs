//! The customers in Postgres.

mod batcher;
mod details;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{
    customer::Customer, edit_key::EditKey, idempotency::IdempotencyRecord, postgres::PostgresError, schema,
};
use batcher::RegistrationBatcher;

/// A visitor gets a response within 3 s even if Postgres is unavailable. This leaves time to send it.
const QUERY_TIMEOUT: Duration = Duration::from_millis(2500);

/// The store of customers. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    batcher: RegistrationBatcher,
    pool: PgPool,
}

/// A customer to register, with everything that is stored in the same commit.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) customer: Customer,
    pub(crate) edit_key: EditKey,
    /// `None` if the request has no idempotency key.
    pub(crate) idempotency: Option<IdempotencyRecord>,
    pub(crate) traceparent: String,
}

/// A registered customer's id, and the key to the customer's details.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegisteredCustomer {
    pub(crate) customer_id: Uuid,
    pub(crate) edit_key: EditKey,
}

/// The reason why a customer was not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// Another customer has this address. Case does not matter.
    #[error("another customer has this email address")]
    EmailTaken,
    /// An earlier request under the same key registered a customer with other details.
    #[error("the idempotency key was used for other details")]
    IdempotencyKeyReused,
    #[error(transparent)]
    Unavailable(#[from] PostgresError),
}

impl Store {
    /// Creates a store that connects when a request needs it, so Postgres may be unavailable at first.
    ///
    /// `connections` limits the connections for everything except registrations.
    pub(crate) fn new(database: PgConnectOptions, connections: u32) -> Self {
        let batcher = RegistrationBatcher::start(&database);
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(QUERY_TIMEOUT);
        Self { batcher, pool: pool.connect_lazy_with(database) }
    }

    /// Saves the customer and the event in one commit. If an earlier request under the same idempotency key
    /// registered this customer, returns the customer of that request.
    ///
    /// # Errors
    /// Returns [`RegisterError`] if nothing was saved. After [`PostgresError::NoReply`] customer and event
    /// may still be saved, both or neither.
    pub(crate) async fn register(
        &self,
        registration: Registration,
    ) -> Result<RegisteredCustomer, RegisterError> {
        self.batcher.register(registration).await
    }

    /// Returns when a customer was registered, or `None` if the customer does not exist.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn registered_at(
        &self,
        customer_id: Uuid,
    ) -> Result<Option<DateTime<Utc>>, PostgresError> {
        let select = sqlx::query_scalar!("SELECT registered_at FROM customers WHERE id = $1", customer_id);
        self.query(async |connection| select.fetch_optional(&mut **connection).await).await
    }

    /// Checks that registering works: the database responds and its schema is complete.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable or migrations are missing.
    pub(crate) async fn check(&self) -> Result<(), PostgresError> {
        let up_to_date = self.query(async |connection| schema::check(connection).await).await?;
        if up_to_date { Ok(()) } else { Err(PostgresError::SchemaOutdated) }
    }

    /// Runs a query on a pooled connection. On a timeout, closes the connection: it may be broken, and a
    /// silent network would keep its place in the pool occupied.
    async fn query<T>(
        &self,
        query: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> sqlx::Result<T>,
    ) -> Result<T, PostgresError> {
        let deadline = Instant::now() + QUERY_TIMEOUT;
        let acquired = timeout_at(deadline, self.pool.acquire()).await;
        let mut connection = acquired.map_err(|_| PostgresError::NoReply)??;
        if let Ok(result) = timeout_at(deadline, query(&mut connection)).await {
            return Ok(result?);
        }
        connection.close_on_drop();
        Err(PostgresError::NoReply)
    }
}
