//! The outbox: the Web Store's local queue in Postgres, as the relay sees it.

use std::time::Duration;

use anyhow::Context;
use contracts::topology;
use messaging::{Envelope, Outgoing};
use sqlx::{Connection, PgConnection, PgTransaction, migrate::Migrator, postgres::PgConnectOptions};
use tokio::time::timeout;
use uuid::Uuid;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long Postgres may take for one step of the relay before the session is given up.
const DEADLINE: Duration = Duration::from_secs(5);

/// Brings the schema up to date. Instances that start at once wait for each other.
///
/// # Errors
/// The database is away, or its schema is newer than this program.
pub async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let mut connection = connect(owner).await?;
    MIGRATIONS.run(&mut connection).await.context("cannot bring the schema up to date")
}

/// How many steps have led to the schema that this program knows.
pub(crate) fn schema_steps() -> usize {
    MIGRATIONS.iter().count()
}

/// A connection of its own: it lives and dies with the relay's session.
pub struct Outbox {
    connection: PgConnection,
}

/// Messages that no other relay can take until this is finished or dropped.
pub struct Claim<'a> {
    transaction: PgTransaction<'a>,
    /// The messages, about in order of age.
    pub messages: Vec<Outgoing>,
}

impl Outbox {
    /// Connects.
    ///
    /// # Errors
    /// The database is away.
    pub async fn connect(database: &PgConnectOptions) -> anyhow::Result<Self> {
        Ok(Self { connection: connect(database).await? })
    }

    /// Claims up to `most` messages that nobody else has claimed, leaving out some message types.
    ///
    /// Rows are claimed by their lock and not by their position: ids do not become visible in order.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim(&mut self, most: i64, without_types: &[String]) -> anyhow::Result<Claim<'_>> {
        let mut transaction = in_time(self.connection.begin()).await?;
        let claim = sqlx::query!(
            "SELECT message_id, message_type, correlation_id, traceparent, occurred_at, body
            FROM outbox WHERE message_type <> ALL ($1)
            ORDER BY message_id LIMIT $2 FOR UPDATE SKIP LOCKED",
            without_types,
            most,
        );
        let rows = in_time(claim.fetch_all(&mut *transaction)).await?;
        let messages = rows.into_iter().map(|row| Outgoing {
            exchange: topology::WEB_STORE_EVENTS,
            envelope: Envelope {
                message_id: row.message_id,
                message_type: row.message_type.into(),
                correlation_id: row.correlation_id,
                causation_id: None,
                traceparent: row.traceparent,
                timestamp: row.occurred_at,
                app_id: "web-store",
            },
            body: row.body.into_bytes(),
        });
        Ok(Claim { messages: messages.collect(), transaction })
    }
}

impl Claim<'_> {
    /// Deletes what has left and sets the rest free.
    ///
    /// # Errors
    /// The database is away; then all of it stays, and what had left will leave again.
    pub async fn finish(mut self, left: &[Uuid]) -> anyhow::Result<()> {
        let delete = sqlx::query!("DELETE FROM outbox WHERE message_id = ANY ($1)", left);
        in_time(delete.execute(&mut *self.transaction)).await?;
        in_time(self.transaction.commit()).await
    }
}

async fn connect(database: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    in_time(PgConnection::connect_with(database)).await
}

async fn in_time<T>(step: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(DEADLINE, step).await.context("Postgres did not answer in time")?;
    answer.context("Postgres is away")
}
