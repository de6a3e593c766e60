//! Queries for the versions of customers.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::version::StoredVersion;

/// Returns all versions of the customers that exist, ordered by customer and version.
pub(super) async fn by_customer_ids(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> sqlx::Result<Vec<StoredVersion>> {
    let select = sqlx::query_as!(
        StoredVersion,
        r#"SELECT customer_id AS "customer_id!", version AS "version!", name AS "name!", email AS "email!",
            marketing_consent AS "marketing_consent!", registered_at AS "registered_at!", changed_at,
            message_id AS "message_id!"
        FROM versions WHERE customer_id = ANY ($1) ORDER BY customer_id, version"#,
        ids,
    );
    select.fetch_all(connection).await
}

/// Returns up to `limit` versions of a period that come after a customer and version, in this order.
///
/// Pages follow the key, because times have no index.
pub(super) async fn by_period(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: (Uuid, i32),
    limit: usize,
) -> sqlx::Result<Vec<StoredVersion>> {
    let select = sqlx::query_as!(
        StoredVersion,
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
        i64::try_from(limit).unwrap_or(i64::MAX),
    );
    select.fetch_all(connection).await
}
