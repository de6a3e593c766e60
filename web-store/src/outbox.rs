//! The outbox: a table in Postgres that keeps events until the broker has confirmed them.
//!
//! An [`OutboxEvent`] has the values of one row, and only `CustomerVersion::event` builds it. Three statements
//! write rows: the registration and the details update, each in one commit with the customer, and
//! [`insert`], which republishes. A test checks that they write the same columns.
//!
//! An event is *fresh* until the broker refuses it. Then it is *parked* until `retry_at`. Each kind has a partial
//! index, so the claim of fresh events does not read the parked ones.
//!
//! `EXPLAIN ANALYZE` of a claim of 256 events among 1,000,000 others, on PostgreSQL 15:
//!
//! | claim | the others | time |
//! | --- | --- | --- |
//! | fresh, since the last claim | parked | 0.4 ms |
//! | fresh, since the last claim | deleted, but an older transaction is open | 0.3 ms |
//! | fresh, from the start of the index | deleted, but an older transaction is open | 290 ms |
//! | parked, of one type | parked | 1.1 ms |

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::topology;
use messaging::{Envelope, Outgoing, PublishOutcome};
use sqlx::{Connection, PgConnection, PgTransaction};
use uuid::Uuid;

use crate::{
    postgres::{DatabaseUrl, PostgresError, USE_INDEXES, connect, with_deadline},
    schema,
};

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

impl OutboxEvent {
    /// Returns the event as a message to an exchange. A replayed one was sent before.
    #[must_use]
    pub fn into_message(self, exchange: &'static str, is_replay: bool) -> Outgoing {
        let envelope = Envelope {
            message_id: self.message_id,
            message_type: self.message_type.into(),
            correlation_id: self.message_id.to_string(),
            causation_id: None,
            traceparent: self.traceparent,
            timestamp: self.occurred_at,
            app_id: "web-store",
            is_replay,
        };
        Outgoing { exchange, envelope, body: self.body.into_bytes() }
    }
}

/// Inserts events in one commit, except those that are still in the outbox. Returns how many it inserted. Replays are
/// events that were sent before.
///
/// # Errors
/// Returns an error if the database is unavailable. Then no event was inserted.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    events: &[OutboxEvent],
    are_replays: bool,
) -> sqlx::Result<u64> {
    let insert = sqlx::query_file!(
        "src/outbox/insert_events.sql",
        &events.iter().map(|event| event.message_id).collect::<Vec<_>>(),
        &events.iter().map(|event| event.message_type).collect::<Vec<_>>() as &[&str],
        &events.iter().map(|event| event.traceparent.as_str()).collect::<Vec<_>>() as &[&str],
        &events.iter().map(|event| event.occurred_at).collect::<Vec<_>>(),
        &events.iter().map(|event| event.body.as_str()).collect::<Vec<_>>() as &[&str],
        are_replays,
    );
    Ok(insert.execute(connection).await?.rows_affected())
}

/// The events that wait in the outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxState {
    /// The number of events that the broker has not refused, up to 10,001.
    pub(crate) fresh: f64,
    /// The number of events that the broker has refused, up to 10,001.
    pub(crate) parked: f64,
    /// The age of the oldest event in seconds, or 0. Only 10,001 parked events are considered.
    pub(crate) oldest_age: f64,
}

/// Measures the outbox. The cost does not depend on the number of events.
///
/// # Errors
/// Returns an error if the database is unavailable.
pub(crate) async fn state(connection: &mut PgConnection) -> sqlx::Result<OutboxState> {
    let select = sqlx::query_as!(
        OutboxState,
        r#"WITH
            fresh AS (
                SELECT queued_at FROM outbox WHERE retry_at IS NULL ORDER BY queued_at, message_id LIMIT 10001
            ),
            parked AS (SELECT queued_at FROM outbox WHERE retry_at IS NOT NULL LIMIT 10001)
        SELECT
            (SELECT count(*) FROM fresh)::float8 AS "fresh!",
            (SELECT count(*) FROM parked)::float8 AS "parked!",
            coalesce(extract(epoch FROM clock_timestamp() - least(
                (SELECT min(queued_at) FROM fresh), (SELECT min(queued_at) FROM parked)
            )), 0)::float8 AS "oldest_age!""#,
    );
    select.fetch_one(connection).await
}

/// The relay's own connection to the outbox. It lasts as long as the relay's session.
pub(crate) struct Outbox {
    connection: PgConnection,
}

/// Events that are locked for one relay until the claim is completed or dropped.
pub(crate) struct Claim<'a> {
    transaction: PgTransaction<'a>,
    /// The events, oldest first.
    pub(crate) messages: Vec<Outgoing>,
    /// The position of the last event in its index: `queued_at` or `retry_at`.
    pub(crate) last_position: Option<DateTime<Utc>>,
    /// Whether some queues may have any of the events already.
    pub(crate) any_nacked: bool,
}

/// The outcomes of publishing the events of one claim.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    pub(crate) confirmed: Vec<Uuid>,
    pub(crate) refused: Vec<(Uuid, PublishOutcome)>,
}

/// A claimed row.
struct StoredEvent {
    message_id: Uuid,
    message_type: String,
    correlation_id: String,
    traceparent: String,
    occurred_at: DateTime<Utc>,
    body: String,
    is_replay: bool,
    last_refusal: Option<String>,
    position: DateTime<Utc>,
}

impl Outbox {
    /// Connects to the database.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn connect(database: &DatabaseUrl) -> Result<Self, PostgresError> {
        Ok(Self { connection: connect(database, QUERY_TIMEOUT, USE_INDEXES).await? })
    }

    /// Waits until the schema is sufficient.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn wait_for_schema(&mut self) -> Result<(), PostgresError> {
        schema::wait_until_sufficient(&mut self.connection, QUERY_TIMEOUT, "the relay").await
    }

    /// Claims up to `limit` fresh events that no other relay has claimed, among those written since `since`. `None`
    /// means the last minute.
    ///
    /// Rows are claimed by their lock and not by their position, because they do not become visible in order.
    /// `since` saves the way over rows that are deleted and still in the index: as long as a transaction is open
    /// that is older than their deletion, each scan reads them.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn claim_fresh(
        &mut self,
        since: Option<DateTime<Utc>>,
        limit: i64,
    ) -> Result<Claim<'_>, PostgresError> {
        let mut transaction = with_deadline(QUERY_TIMEOUT, self.connection.begin()).await?;
        let claim = sqlx::query_as!(
            StoredEvent,
            "SELECT message_id, message_type, correlation_id, traceparent, occurred_at, body, is_replay,
                last_refusal, queued_at AS position
            FROM outbox
            WHERE retry_at IS NULL AND queued_at >= coalesce($1::timestamptz, now() - interval '1 minute')
            ORDER BY queued_at, message_id LIMIT $2 FOR UPDATE SKIP LOCKED",
            since,
            limit,
        );
        let rows = with_deadline(QUERY_TIMEOUT, claim.fetch_all(&mut *transaction)).await?;
        Ok(Claim::new(transaction, rows))
    }

    /// Claims up to `limit` parked events of one type that are due, and whose attempt was due since `since`.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn claim_parked(
        &mut self,
        message_type: &str,
        since: DateTime<Utc>,
        limit: i64,
    ) -> Result<Claim<'_>, PostgresError> {
        let mut transaction = with_deadline(QUERY_TIMEOUT, self.connection.begin()).await?;
        let claim = sqlx::query_as!(
            StoredEvent,
            r#"SELECT message_id, message_type, correlation_id, traceparent, occurred_at, body, is_replay,
                last_refusal, retry_at AS "position!"
            FROM outbox
            WHERE retry_at IS NOT NULL AND message_type = $1 AND retry_at >= $2 AND retry_at <= now()
            ORDER BY retry_at LIMIT $3 FOR UPDATE SKIP LOCKED"#,
            message_type,
            since,
            limit,
        );
        let rows = with_deadline(QUERY_TIMEOUT, claim.fetch_all(&mut *transaction)).await?;
        Ok(Claim::new(transaction, rows))
    }

    /// Returns the types of the parked events. Reads one row for each type.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn parked_types(&mut self) -> Result<Vec<String>, PostgresError> {
        let select = sqlx::query_scalar!(
            r#"WITH RECURSIVE types AS (
                (SELECT message_type FROM outbox WHERE retry_at IS NOT NULL ORDER BY message_type LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT message_type FROM outbox
                    WHERE retry_at IS NOT NULL AND message_type > types.message_type
                    ORDER BY message_type LIMIT 1
                )
                FROM types WHERE types.message_type IS NOT NULL
            )
            SELECT message_type AS "message_type!" FROM types WHERE message_type IS NOT NULL"#,
        );
        with_deadline(QUERY_TIMEOUT, select.fetch_all(&mut self.connection)).await
    }
}

impl<'a> Claim<'a> {
    fn new(transaction: PgTransaction<'a>, rows: Vec<StoredEvent>) -> Self {
        let last_position = rows.last().map(|row| row.position);
        let any_nacked = rows.iter().any(|row| row.last_refusal.as_deref() == Some("nacked"));
        let messages = rows.into_iter().map(Outgoing::from).collect();
        Self { transaction, messages, last_position, any_nacked }
    }

    /// Deletes the confirmed events, and parks the refused ones. Each refusal of an event doubles its delay, from 1 s
    /// to 10 s.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable. Then all events stay in the outbox, and
    /// the confirmed ones are published again.
    pub(crate) async fn complete(mut self, settlement: &Settlement) -> Result<(), PostgresError> {
        let Settlement { confirmed, refused } = settlement;
        if !confirmed.is_empty() {
            let delete = sqlx::query!("DELETE FROM outbox WHERE message_id = ANY ($1)", confirmed);
            with_deadline(QUERY_TIMEOUT, delete.execute(&mut *self.transaction)).await?;
        }
        if !refused.is_empty() {
            let park = sqlx::query!(
                "UPDATE outbox SET attempts = attempts + 1, last_refusal = refusal,
                    retry_at = clock_timestamp() + (0.5 + random() / 2)
                        * least(interval '1 second' * 2 ^ least(attempts, 10), interval '10 seconds')
                FROM unnest($1::uuid[], $2::text[]) AS refused (message_id, refusal)
                WHERE outbox.message_id = refused.message_id",
                &refused.iter().map(|(message_id, _)| *message_id).collect::<Vec<_>>(),
                &refused.iter().map(|(_, outcome)| refusal(*outcome)).collect::<Vec<_>>() as &[&str],
            );
            with_deadline(QUERY_TIMEOUT, park.execute(&mut *self.transaction)).await?;
        }
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await
    }
}

/// Returns the text for the column `last_refusal`.
fn refusal(outcome: PublishOutcome) -> &'static str {
    match outcome {
        PublishOutcome::Returned => "returned",
        PublishOutcome::Nacked | PublishOutcome::Confirmed => "nacked",
    }
}

impl From<StoredEvent> for Outgoing {
    fn from(row: StoredEvent) -> Self {
        let envelope = Envelope {
            message_id: row.message_id,
            message_type: row.message_type.into(),
            correlation_id: row.correlation_id,
            causation_id: None,
            traceparent: row.traceparent,
            timestamp: row.occurred_at,
            app_id: "web-store",
            is_replay: row.is_replay,
        };
        Self { exchange: topology::WEB_STORE_EVENTS, envelope, body: row.body.into_bytes() }
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
            let all = "message_id, message_type, correlation_id, traceparent, occurred_at, body";
            assert_eq!(columns.trim_end_matches(", is_replay"), all);
            assert!(values.contains("message_id::text"), "the correlation id: {statement}");
        }
    }
}
