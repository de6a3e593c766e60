//! Registers customers in write batches (group commit): one statement and one commit for many requests.
//!
//! A worker takes the registrations that are waiting, and never waits for more. Registrations that arrive
//! during a commit go into the next batch. So a single visitor gets a separate commit, and many simultaneous
//! visitors cost the database little more.

use std::{slice, sync::Arc};

use contracts::topology::WEB_STORE_EVENTS;
use service_kit::RequestTrace;
use sqlx::PgConnection;
use telemetry::{Received, create_span, database_span};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    QUERY_TIMEOUT, RegisterError, Registered, RegisteredCustomer, Registration, metrics::RegistrationMetrics,
};
use crate::{
    customer::Customer,
    edit_key::EditKey,
    idempotency::IdempotencyRecord,
    outbox::OutboxEvent,
    postgres::{DatabaseUrl, Pool, PostgresError, code, may_depend_on_rows},
    version::CustomerVersion,
};

/// The largest number of registrations in one statement.
const MAX_BATCH: usize = 64;

/// Each worker has one connection. One worker collects while the other commits; more make smaller batches.
const WORKERS: usize = 2;

/// When the queue is full, callers wait for a free slot.
const QUEUE_CAPACITY: usize = 1024;

/// One plan fits every batch. Without this setting the server plans each execution again.
const ONE_PLAN: &str = "SET plan_cache_mode = force_generic_plan";

type Outcome = Result<Registered, RegisterError>;

/// A registration, its event, and the caller that waits for the outcome.
struct PendingRegistration {
    customer: Customer,
    edit_key: EditKey,
    idempotency: Option<IdempotencyRecord>,
    event: OutboxEvent,
    trace: RequestTrace,
    reply: oneshot::Sender<Outcome>,
}

/// The queue of registrations, which the workers share.
#[derive(Debug, Clone)]
pub(super) struct RegistrationBatcher {
    queue: mpsc::Sender<PendingRegistration>,
    connections: Pool,
}

impl RegistrationBatcher {
    /// Starts the workers. They connect when the first registration arrives, and end when the last clone of
    /// the batcher is dropped.
    pub(super) fn start(database: &DatabaseUrl, metrics: &RegistrationMetrics) -> Self {
        let (queue, pending) = mpsc::channel(QUEUE_CAPACITY);
        let pending = Arc::new(Mutex::new(pending));
        let connections = Pool::new(database.clone(), WORKERS, QUERY_TIMEOUT, ONE_PLAN);
        for _ in 0..WORKERS {
            let worker = BatchWorker { connections: connections.clone(), metrics: metrics.clone() };
            tokio::spawn(worker.run(Arc::clone(&pending)));
        }
        Self { queue, connections }
    }

    /// Closes the connections of the workers, each after its use.
    pub(super) fn close_connections(&self) {
        self.connections.close_all();
    }

    /// Returns the numbers of the workers' connections that are idle and in use.
    pub(super) fn connection_counts(&self) -> (usize, usize) {
        self.connections.counts()
    }

    /// Builds the event, queues the registration, and waits for its outcome.
    pub(super) async fn register(&self, registration: Registration) -> Outcome {
        let deadline = Instant::now() + QUERY_TIMEOUT;
        let Registration { customer, edit_key, idempotency, trace } = registration;
        let traceparent = create_span(trace.traceparent(), WEB_STORE_EVENTS);
        let version = CustomerVersion::first(customer);
        let event = version.event(Uuid::now_v7(), traceparent);
        let (reply, outcome) = oneshot::channel();
        let pending =
            PendingRegistration { customer: version.customer, edit_key, idempotency, event, trace, reply };
        let queued_and_saved = async {
            self.queue.send(pending).await.ok()?;
            outcome.await.ok()
        };
        match timeout_at(deadline, queued_and_saved).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(PostgresError::NoReply.into()),
        }
    }
}

/// One task, which saves batches. Each worker uses one connection at a time.
struct BatchWorker {
    connections: Pool,
    metrics: RegistrationMetrics,
}

impl BatchWorker {
    async fn run(self, queue: Arc<Mutex<mpsc::Receiver<PendingRegistration>>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while queue.lock().await.recv_many(&mut batch, MAX_BATCH).await > 0 {
            // Skips callers that have timed out: they have already received an error.
            batch.retain(|pending| !pending.reply.is_closed());
            if batch.is_empty() {
                continue;
            }
            let outcomes = self.register(&batch).await;
            for (pending, outcome) in batch.drain(..).zip(outcomes) {
                let _ = pending.reply.send(outcome);
            }
        }
    }

    /// Returns one outcome for each registration, in order.
    async fn register(&self, batch: &[PendingRegistration]) -> Vec<Outcome> {
        let saved = self.connections.run(async |connection| self.save(connection, batch).await).await;
        saved.unwrap_or_else(|error| batch.iter().map(|_| Err(error.clone().into())).collect())
    }

    /// Saves the batch. If the database refuses the statement because of a row, saves each registration alone, so that
    /// one refused row does not affect the others.
    async fn save(
        &self,
        connection: &mut PgConnection,
        batch: &[PendingRegistration],
    ) -> sqlx::Result<Vec<Outcome>> {
        match self.insert_batch(connection, batch).await {
            Err(error) if batch.len() > 1 && may_depend_on_rows(&error) => {
                self.insert_individually(connection, batch).await
            }
            outcomes => outcomes,
        }
    }

    /// Inserts the batch in one statement. Rows skipped by `ON CONFLICT` are resolved individually.
    async fn insert_batch(
        &self,
        connection: &mut PgConnection,
        batch: &[PendingRegistration],
    ) -> sqlx::Result<Vec<Outcome>> {
        let inserted = insert(connection, batch).await?;
        self.metrics.committed(batch.len(), inserted.len());
        let mut outcomes = Vec::with_capacity(batch.len());
        for PendingRegistration { customer, edit_key, idempotency, event, .. } in batch {
            outcomes.push(if inserted.contains(&event.message_id) {
                Ok(Registered::Now(RegisteredCustomer { customer_id: customer.id, edit_key: *edit_key }))
            } else {
                resolve_conflict(connection, *idempotency).await?
            });
        }
        Ok(outcomes)
    }

    /// Inserts each registration in a separate statement.
    async fn insert_individually(
        &self,
        connection: &mut PgConnection,
        batch: &[PendingRegistration],
    ) -> sqlx::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for pending in batch {
            match self.insert_batch(connection, slice::from_ref(pending)).await {
                Ok(outcome) => outcomes.extend(outcome),
                Err(error) if may_depend_on_rows(&error) => {
                    outcomes.push(Err(PostgresError::from(error).into()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }
}

/// Inserts all rows without a conflict, each with its event. Returns the message ids of the inserted rows.
async fn insert(connection: &mut PgConnection, batch: &[PendingRegistration]) -> sqlx::Result<Vec<Uuid>> {
    let customers = || batch.iter().map(|pending| &pending.customer);
    let events = || batch.iter().map(|pending| &pending.event);
    let idempotency = || batch.iter().map(|pending| pending.idempotency);
    let insert = sqlx::query_file_scalar!(
        "src/store/register.sql",
        &customers().map(|customer| customer.id).collect::<Vec<_>>(),
        &customers().map(|customer| customer.name.as_str()).collect::<Vec<_>>() as &[&str],
        &customers().map(|customer| customer.email.as_str()).collect::<Vec<_>>() as &[&str],
        &customers().map(|customer| customer.marketing_consent).collect::<Vec<_>>(),
        &events().map(|event| event.occurred_at).collect::<Vec<_>>(),
        &events().map(|event| event.message_id).collect::<Vec<_>>(),
        &events().map(|event| event.traceparent.as_str()).collect::<Vec<_>>() as &[&str],
        &events().map(|event| event.body.as_str()).collect::<Vec<_>>() as &[&str],
        &idempotency().map(|record| Some(record?.key_hash)).collect::<Vec<_>>() as &[Option<Uuid>],
        &idempotency().map(|record| Some(record?.request_fingerprint)).collect::<Vec<_>>()
            as &[Option<Uuid>],
        &batch.iter().map(|pending| pending.edit_key.uuid()).collect::<Vec<_>>(),
        // All events of a batch have the type of a first version.
        batch[0].event.message_type,
    );
    let requests =
        batch.iter().map(|pending| Received { traceparent: pending.trace.traceparent(), message_id: None });
    let mut span = database_span("postgresql", "INSERT customers", None, requests);
    let inserted = insert.fetch_all(connection).await;
    if let (Some(span), Err(error)) = (&mut span, &inserted) {
        span.fail(code(error).unwrap_or_else(|| "unavailable".into()));
    }
    inserted
}

/// Returns the reason why a row was skipped: an earlier request under the same key, or a taken address.
/// Queries only after a conflict, so a first request costs nothing more.
async fn resolve_conflict(
    connection: &mut PgConnection,
    idempotency: Option<IdempotencyRecord>,
) -> sqlx::Result<Outcome> {
    let Some(record) = idempotency else { return Ok(Err(RegisterError::EmailTaken)) };
    let select = sqlx::query!(
        r#"SELECT id, request AS "request!", edit_key FROM customers WHERE idempotency_key = $1"#,
        record.key_hash,
    );
    Ok(match select.fetch_optional(connection).await? {
        Some(earlier) if earlier.request == record.request_fingerprint => {
            let edit_key = EditKey::from_stored(earlier.edit_key);
            Ok(Registered::Before(RegisteredCustomer { customer_id: earlier.id, edit_key }))
        }
        Some(_) => Err(RegisterError::IdempotencyKeyReused),
        None => Err(RegisterError::EmailTaken),
    })
}
