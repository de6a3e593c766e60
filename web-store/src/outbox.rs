//! The outbox: a table in Postgres that keeps events until the broker has confirmed them.
//!
//! An [`OutboxEvent`] has the values of one row, and only `CustomerVersion::event` builds it. Three statements
//! write rows: the registration and the details update, each in one commit with the customer, and
//! [`insert`], which republishes. A test checks that they write the same columns.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::topology;
use messaging::{Envelope, Outgoing};
use sqlx::{Connection, PgConnection, PgTransaction, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::postgres::{PostgresError, connect, with_deadline};

/// The limit for one step of the relay. After it, the session ends and the relay connects again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// One row of the outbox: an event and its envelope.
///
/// The event is the first message of its flow, so its correlation id is its own message id. The statements
/// derive it from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// A UUID v7, stored with the version, so that republishing uses the same id.
    pub message_id: Uuid,
    /// The contract, `contracts::Message::TYPE`. It is also the routing key.
    pub message_type: &'static str,
    /// W3C Trace Context.
    pub traceparent: String,
    /// When the version came into effect.
    pub occurred_at: DateTime<Utc>,
    /// JSON.
    pub body: String,
}

/// Inserts events in one commit, except those that are still in the outbox. Returns how many it inserted.
///
/// # Errors
/// Returns an error if the database is unavailable. Then no event was inserted.
pub(crate) async fn insert(connection: &mut PgConnection, events: &[OutboxEvent]) -> sqlx::Result<u64> {
    let insert = sqlx::query_file!(
        "src/outbox/insert_events.sql",
        &events.iter().map(|event| event.message_id).collect::<Vec<_>>(),
        &events.iter().map(|event| event.message_type).collect::<Vec<_>>() as &[&str],
        &events.iter().map(|event| event.traceparent.as_str()).collect::<Vec<_>>() as &[&str],
        &events.iter().map(|event| event.occurred_at).collect::<Vec<_>>(),
        &events.iter().map(|event| event.body.as_str()).collect::<Vec<_>>() as &[&str],
    );
    Ok(insert.execute(connection).await?.rows_affected())
}

/// The relay's own connection to the outbox. It lasts as long as the relay's session.
pub(crate) struct Outbox {
    connection: PgConnection,
}

/// Events that are locked for one relay until the claim is completed or dropped.
pub(crate) struct Claim<'a> {
    transaction: PgTransaction<'a>,
    /// The events, roughly in order of age.
    pub(crate) messages: Vec<Outgoing>,
}

impl Outbox {
    /// Connects to the database.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn connect(database: &PgConnectOptions) -> Result<Self, PostgresError> {
        Ok(Self { connection: connect(database, QUERY_TIMEOUT).await? })
    }

    /// Claims up to `limit` events that no other relay has claimed, except those of `excluded_types`.
    ///
    /// Rows are claimed by their lock and not by their position, because ids do not become visible in order.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn claim(
        &mut self,
        limit: i64,
        excluded_types: &[String],
    ) -> Result<Claim<'_>, PostgresError> {
        let mut transaction = with_deadline(QUERY_TIMEOUT, self.connection.begin()).await?;
        let claim = sqlx::query!(
            "SELECT message_id, message_type, correlation_id, traceparent, occurred_at, body
            FROM outbox WHERE message_type <> ALL ($1)
            ORDER BY message_id LIMIT $2 FOR UPDATE SKIP LOCKED",
            excluded_types,
            limit,
        );
        let rows = with_deadline(QUERY_TIMEOUT, claim.fetch_all(&mut *transaction)).await?;
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
    /// Deletes the delivered events and releases the others.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable. Then all events stay in the outbox, and
    /// the delivered ones are published again.
    pub(crate) async fn complete(mut self, delivered: &[Uuid]) -> Result<(), PostgresError> {
        let delete = sqlx::query!("DELETE FROM outbox WHERE message_id = ANY ($1)", delivered);
        with_deadline(QUERY_TIMEOUT, delete.execute(&mut *self.transaction)).await?;
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_statements_write_the_same_outbox_columns() {
        for statement in [
            include_str!("store/register.sql"),
            include_str!("store/update_details.sql"),
            include_str!("outbox/insert_events.sql"),
        ] {
            let (_, columns) = statement.split_once("INSERT INTO outbox (").unwrap();
            let (columns, values) = columns.split_once(')').unwrap();
            assert_eq!(columns, "message_id, message_type, correlation_id, traceparent, occurred_at, body");
            assert!(values.contains("message_id::text"), "the correlation id: {statement}");
        }
    }
}
