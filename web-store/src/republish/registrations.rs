//! The registrations in Postgres, and the outbox that their events go to again.

use chrono::{DateTime, Utc};
use contracts::{CustomerRegistered, Message};
use messaging::next_traceparent;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::customer::{Customer, Email, Name};

/// A customer, and the message id of the event that told of them.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) customer: Customer,
    message_id: Uuid,
}

struct Row {
    id: Uuid,
    name: String,
    email: String,
    marketing_consent: bool,
    registered_at: DateTime<Utc>,
    message_id: Uuid,
}

/// Those customers that there are of these, by id.
pub(super) async fn with_ids(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Registration>> {
    let select = sqlx::query_as!(
        Row,
        "SELECT id, name, email, marketing_consent, registered_at, message_id
        FROM customers WHERE id = ANY ($1) ORDER BY id",
        ids,
    );
    Ok(select.fetch_all(connection).await?.into_iter().map(Registration::from).collect())
}

/// A page of the customers who were registered in a period, by id: their time has no index.
pub(super) async fn within(
    connection: &mut PgConnection,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    after: Uuid,
    page: usize,
) -> sqlx::Result<Vec<Registration>> {
    let select = sqlx::query_as!(
        Row,
        "SELECT id, name, email, marketing_consent, registered_at, message_id FROM customers
        WHERE id > $1 AND ($2::timestamptz IS NULL OR registered_at >= $2)
            AND ($3::timestamptz IS NULL OR registered_at < $3)
        ORDER BY id LIMIT $4",
        after,
        since,
        until,
        i64::try_from(page).unwrap_or(i64::MAX),
    );
    Ok(select.fetch_all(connection).await?.into_iter().map(Registration::from).collect())
}

/// Writes all events or none, but for those that wait already; how many were written.
pub(super) async fn insert_events(connection: &mut PgConnection, page: &[Registration]) -> sqlx::Result<u64> {
    let message_ids: Vec<_> = page.iter().map(|registration| registration.message_id).collect();
    let correlation_ids: Vec<_> = message_ids.iter().map(Uuid::to_string).collect();
    let traceparents: Vec<_> = page.iter().map(|_| next_traceparent(None)).collect();
    let times: Vec<_> = page.iter().map(|registration| registration.customer.registered_at).collect();
    let bodies: Vec<_> =
        page.iter().map(|registration| registration.customer.registered().to_json()).collect();
    let insert = sqlx::query!(
        "INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
        SELECT message_id, $1, correlation_id, traceparent, occurred_at, body
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
            AS event (message_id, correlation_id, traceparent, occurred_at, body)
        ON CONFLICT (message_id) DO NOTHING",
        CustomerRegistered::TYPE,
        &message_ids,
        &correlation_ids,
        &traceparents,
        &times,
        &bodies,
    );
    Ok(insert.execute(connection).await?.rows_affected())
}

impl From<Row> for Registration {
    fn from(row: Row) -> Self {
        let Row { id, name, email, marketing_consent, registered_at, message_id } = row;
        let (name, email) = (Name::stored(name), Email::stored(email));
        Self { customer: Customer { id, name, email, marketing_consent, registered_at }, message_id }
    }
}
