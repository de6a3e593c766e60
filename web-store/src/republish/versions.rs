//! The versions of customers in Postgres, and the outbox that their events go to again.

use chrono::{DateTime, Utc};
use messaging::child_traceparent;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::version::{Event, Row, Version};

/// All versions of those customers that there are of these, by customer.
pub(super) async fn of(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    let select = sqlx::query_as!(
        Row,
        r#"SELECT customer_id AS "customer_id!", version AS "version!", name AS "name!", email AS "email!",
            marketing_consent AS "marketing_consent!", registered_at AS "registered_at!", changed_at,
            message_id AS "message_id!"
        FROM versions WHERE customer_id = ANY ($1) ORDER BY customer_id, version"#,
        ids,
    );
    select.fetch_all(connection).await
}

/// A page of the versions that came to be in a period, by customer: their time has no index.
pub(super) async fn within(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: (Uuid, i32),
    page: usize,
) -> sqlx::Result<Vec<Row>> {
    let select = sqlx::query_as!(
        Row,
        r#"SELECT customer_id AS "customer_id!", version AS "version!", name AS "name!", email AS "email!",
            marketing_consent AS "marketing_consent!", registered_at AS "registered_at!", changed_at,
            message_id AS "message_id!"
        FROM versions
        WHERE customer_id >= $1 AND (customer_id, version) > ($1, $2)
            AND ($3::timestamptz IS NULL OR coalesce(changed_at, registered_at) >= $3)
            AND ($4::timestamptz IS NULL OR coalesce(changed_at, registered_at) < $4)
        ORDER BY customer_id, version LIMIT $5"#,
        after.0,
        after.1,
        since,
        until,
        i64::try_from(page).unwrap_or(i64::MAX),
    );
    select.fetch_all(connection).await
}

/// Writes all events or none, but for those that wait already; how many were written.
pub(super) async fn insert_events(connection: &mut PgConnection, page: Vec<Row>) -> sqlx::Result<u64> {
    let message_ids: Vec<_> = page.iter().map(|row| row.message_id).collect();
    let correlation_ids: Vec<_> = message_ids.iter().map(Uuid::to_string).collect();
    let traceparents: Vec<_> = page.iter().map(|_| child_traceparent(None)).collect();
    let events: Vec<Event> = page.into_iter().map(|row| Version::from(row).event()).collect();
    let types: Vec<_> = events.iter().map(|event| event.message_type.to_owned()).collect();
    let times: Vec<_> = events.iter().map(|event| event.occurred_at).collect();
    let bodies: Vec<_> = events.into_iter().map(|event| event.body).collect();
    let insert = sqlx::query!(
        "INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
        ON CONFLICT (message_id) DO NOTHING",
        &message_ids,
        &types,
        &correlation_ids,
        &traceparents,
        &times,
        &bodies,
    );
    Ok(insert.execute(connection).await?.rows_affected())
}
