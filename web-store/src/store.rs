//! The customers in Postgres.

mod batcher;
mod details;
mod metrics;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use service_kit::RequestTrace;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    customer::Customer,
    edit_key::EditKey,
    idempotency::IdempotencyRecord,
    outbox::{self, OutboxEvent, OutboxState},
    postgres::{DatabaseUrl, Pool, PostgresError},
    schema,
};
use batcher::RegistrationBatcher;
pub(crate) use details::insert_version;
pub(crate) use metrics::{OutcomeLabel, RegistrationMetrics};

/// A visitor gets a response within 3 s even if Postgres is unavailable. This leaves time to send it.
const QUERY_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long a failed write makes the service not ready. Without requests, there is no success that ends it.
const FAILURE_SHOWN: Duration = Duration::from_secs(10);

/// The store of customers. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    batcher: RegistrationBatcher,
    pool: Pool,
    /// The last write, if it failed: with a full disk or a locked table, reading still works.
    failed_write: Arc<Mutex<Option<(Instant, PostgresError)>>>,
}

/// The health of the database.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    /// The reason why customers cannot be registered, apart from the schema.
    pub(crate) postgres: Option<String>,
    /// The reason why the schema is not sufficient.
    pub(crate) schema: Option<String>,
}

/// A customer to register, with everything that is stored in the same commit.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) customer: Customer,
    pub(crate) edit_key: EditKey,
    /// `None` if the request has no idempotency key.
    pub(crate) idempotency: Option<IdempotencyRecord>,
    pub(crate) trace: RequestTrace,
}

/// A registered customer's id, and the key to the customer's details.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegisteredCustomer {
    pub(crate) customer_id: Uuid,
    pub(crate) edit_key: EditKey,
}

/// A customer that is registered after a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registered {
    Now(RegisteredCustomer),
    /// By an earlier request under the same idempotency key.
    Before(RegisteredCustomer),
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
    pub(crate) fn new(database: DatabaseUrl, connections: u32, metrics: &RegistrationMetrics) -> Self {
        let batcher = RegistrationBatcher::start(&database, metrics);
        let size = usize::try_from(connections).unwrap_or(usize::MAX);
        let pool = Pool::new(database, size, QUERY_TIMEOUT, "");
        Self { batcher, pool, failed_write: Arc::default() }
    }

    /// Saves the customer and the event in one commit. If an earlier request under the same idempotency key
    /// registered this customer, returns the customer of that request.
    ///
    /// # Errors
    /// Returns [`RegisterError`] if nothing was saved. After [`PostgresError::NoReply`] customer and event
    /// may still be saved, both or neither.
    pub(crate) async fn register(&self, registration: Registration) -> Result<Registered, RegisterError> {
        let outcome = self.batcher.register(registration).await;
        self.note_write(match &outcome {
            Err(RegisterError::Unavailable(error)) => Some(error),
            _ => None,
        });
        outcome
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
        self.pool.run(async |connection| select.fetch_optional(connection).await).await
    }

    /// Checks that registering works: the database accepts writes, the last write succeeded, and the schema is
    /// sufficient.
    pub(crate) async fn check(&self) -> StoreHealth {
        let (postgres, schema) =
            match self.pool.run(async |connection| schema::inspect(connection).await).await {
                Ok(schema) if schema.read_only => {
                    // The next connection may reach the new primary.
                    self.pool.close_all();
                    self.batcher.close_connections();
                    (Some(PostgresError::ReadOnly.to_string()), schema.missing)
                }
                Ok(schema) => (self.failed_write(), schema.missing),
                Err(error) => {
                    let schema = Some("unknown while Postgres is unavailable".to_owned());
                    return StoreHealth { postgres: Some(error.to_string()), schema };
                }
            };
        let schema = (!schema.is_empty()).then(|| format!("migrations have not been applied: {schema:?}"));
        StoreHealth { postgres, schema }
    }

    /// Writes events to the outbox, except those that still wait there.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn insert_events(&self, events: &[OutboxEvent]) -> Result<u64, PostgresError> {
        self.pool.run(async |connection| outbox::insert(connection, events, false).await).await
    }

    /// Measures the outbox.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn outbox_state(&self) -> Result<OutboxState, PostgresError> {
        self.pool.run(async |connection| outbox::state(connection).await).await
    }

    /// Returns the name of each pool, and the numbers of its connections that are idle and in use.
    pub(crate) fn connections(&self) -> [(&'static str, usize, usize); 2] {
        let ((idle, used), (batch_idle, batch_used)) = (self.pool.counts(), self.batcher.connection_counts());
        [("requests", idle, used), ("registrations", batch_idle, batch_used)]
    }

    /// Notes the outcome of a write, for health checks.
    fn note_write(&self, error: Option<&PostgresError>) {
        *self.last_failed_write() = error.map(|error| (Instant::now(), error.clone()));
    }

    fn failed_write(&self) -> Option<String> {
        let last = self.last_failed_write();
        let (at, error) = last.as_ref()?;
        (at.elapsed() < FAILURE_SHOWN).then(|| format!("the last write failed: {error}"))
    }

    fn last_failed_write(&self) -> MutexGuard<'_, Option<(Instant, PostgresError)>> {
        self.failed_write.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
