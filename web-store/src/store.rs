//! The customers in Postgres.

mod edits;
mod registering;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{attempt::Attempt, customer::Customer, edit_key::EditKey, outbox::schema_steps};
use registering::Registering;

/// A visitor is told within 3 s that Postgres is away; this leaves time for the answer.
const DEADLINE: Duration = Duration::from_millis(2500);

/// The database of customers.
#[derive(Debug, Clone)]
pub struct Store {
    registering: Registering,
    pool: PgPool,
}

/// Somebody who is to be registered.
#[derive(Debug)]
pub struct Registration {
    /// Who.
    pub customer: Customer,
    /// The key to their details.
    pub key: EditKey,
    /// The attempt that this is, where the client can tell.
    pub attempt: Option<Attempt>,
    /// Of the request.
    pub traceparent: String,
}

/// Who is registered, and the key to their details.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    /// The customer's id.
    pub customer_id: Uuid,
    /// The key that they have.
    pub key: EditKey,
}

/// Why a customer was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Somebody is registered with this address already, in whatever case.
    #[error("the e-mail address is registered already")]
    EmailTaken,
    /// The request's key was used before, to register somebody else.
    #[error("the idempotency key was used before, to register somebody else")]
    KeyUsed,
    /// The database is away.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The database is away or does not answer in time.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// It failed, for everybody who was in the same statement.
    #[error("Postgres is away: {0}")]
    Failed(Arc<sqlx::Error>),
    /// Its schema is not up to date yet.
    #[error("the schema in Postgres is not up to date")]
    NoSchema,
    /// It did not answer. What was asked of it may yet take effect, as a whole or not at all.
    #[error("Postgres did not answer in time")]
    NoAnswer,
}

impl Store {
    /// Connects when the first request needs it, so that it can be built while the database is away. So many
    /// connections are for all that is not registering.
    #[must_use]
    pub fn new(database: PgConnectOptions, connections: u32) -> Self {
        let registering = Registering::start(&database);
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(DEADLINE);
        Self { registering, pool: pool.connect_lazy_with(database) }
    }

    /// Saves the customer and, by the same commit, the event that tells of it. Who is registered: for
    /// an attempt that succeeded before, the customer of then.
    ///
    /// # Errors
    /// Nothing was saved; unless the database did not answer: then both may yet be, or neither.
    pub async fn register(&self, registration: Registration) -> Result<Registered, RegisterError> {
        self.registering.register(registration).await
    }

    /// When a customer was registered; `None` if there is no such customer.
    ///
    /// # Errors
    /// The database is away.
    pub async fn registered_at(&self, customer_id: Uuid) -> Result<Option<DateTime<Utc>>, Unavailable> {
        let select = sqlx::query_scalar!("SELECT registered_at FROM customers WHERE id = $1", customer_id);
        self.in_time(async |connection| select.fetch_optional(&mut **connection).await).await
    }

    /// Whether registering would work: the database answers and has the whole of its schema.
    ///
    /// # Errors
    /// It is away, or its schema is on its way.
    pub async fn check(&self) -> Result<(), Unavailable> {
        // Not checked against the schema's offline data, which has no such table.
        let count = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success");
        let done: i64 = self.in_time(async |connection| count.fetch_one(&mut **connection).await).await?;
        let ready = usize::try_from(done).is_ok_and(|done| done >= schema_steps());
        if ready { Ok(()) } else { Err(Unavailable::NoSchema) }
    }

    /// Runs a query within the deadline. A connection that missed it is closed: it may be half dead, and
    /// would keep its place in the pool for as long as the network keeps silent.
    async fn in_time<T>(
        &self,
        query: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> sqlx::Result<T>,
    ) -> Result<T, Unavailable> {
        let deadline = Instant::now() + DEADLINE;
        let acquired = timeout_at(deadline, self.pool.acquire()).await;
        let mut connection = acquired.map_err(|_| Unavailable::NoAnswer)??;
        if let Ok(answer) = timeout_at(deadline, query(&mut connection)).await {
            return Ok(answer?);
        }
        connection.close_on_drop();
        Err(Unavailable::NoAnswer)
    }
}

impl From<sqlx::Error> for Unavailable {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}
