//! The table `erased_customers`: the ids of erased customers, with their events.

use chrono::{DateTime, SubsecRound, Utc};
use contracts::{CustomerErased, Message, topology::WEB_STORE_EVENTS};
use sqlx::{Connection, PgConnection};
use telemetry::create_span;
use uuid::Uuid;

use crate::{
    outbox::{self, OutboxEvent},
    version::number_above,
};

/// The version of a registration. The erasure of a customer that the Web Store does not have is above it.
const FIRST_VERSION: i32 = 1;

/// An erased customer.
#[derive(Debug)]
pub(crate) struct ErasedCustomer {
    pub(crate) customer_id: Uuid,
    version: i32,
    pub(crate) erased_at: DateTime<Utc>,
    message_id: Uuid,
}

impl ErasedCustomer {
    /// Builds the event. It depends on the row only, so an event that is sent again is the same event.
    pub(crate) fn event(&self, traceparent: String) -> OutboxEvent {
        let event = CustomerErased {
            customer_id: self.customer_id,
            version: self.version.unsigned_abs(),
            erased_at: self.erased_at,
        };
        OutboxEvent {
            message_id: self.message_id,
            message_type: CustomerErased::TYPE,
            traceparent,
            occurred_at: self.erased_at,
            body: event.to_json(),
        }
    }
}

/// Erases a customer in one commit: the row with its idempotency key, the earlier versions, and their events in the
/// outbox. Writes `CustomerErased` to the outbox, again if the customer was erased before. Returns whether it was not.
///
/// # Errors
/// Returns an error if a statement fails. Then nothing was changed, unless the commit got no reply.
pub(super) async fn erase(
    connection: &mut PgConnection,
    customer_id: Uuid,
    trace: Option<&str>,
) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    // The lock comes first: a simultaneous change of details commits before it, and the next statement sees its version,
    // or the change finds no customer afterwards.
    let lock = sqlx::query_scalar!("SELECT version FROM customers WHERE id = $1 FOR UPDATE", customer_id);
    let version = lock.fetch_optional(&mut *transaction).await?;
    sqlx::query_file!("src/erasure/delete_customer.sql", customer_id).execute(&mut *transaction).await?;
    let now = Utc::now().trunc_subsecs(6);
    let insert = sqlx::query!(
        "INSERT INTO erased_customers (customer_id, version, erased_at, message_id) VALUES ($1, $2, $3, $4)
        ON CONFLICT (customer_id) DO NOTHING",
        customer_id,
        number_above(version.unwrap_or(FIRST_VERSION), now),
        now,
        Uuid::now_v7(),
    );
    let is_new = insert.execute(&mut *transaction).await?.rows_affected() == 1;
    let erased = of_customers(&mut transaction, &[customer_id]).await?;
    let events: Vec<_> =
        erased.iter().map(|erased| erased.event(create_span(trace, WEB_STORE_EVENTS))).collect();
    outbox::insert(&mut transaction, &events, !is_new).await?;
    transaction.commit().await?;
    Ok(is_new)
}

/// Returns those of `ids` that were erased, in any order.
pub(crate) async fn of_customers(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> sqlx::Result<Vec<ErasedCustomer>> {
    let select = sqlx::query_as!(
        ErasedCustomer,
        "SELECT customer_id, version, erased_at, message_id FROM erased_customers WHERE customer_id = ANY ($1)",
        ids,
    );
    select.fetch_all(connection).await
}

/// Returns up to `limit` erased customers after `after` and up to `last`, by id, of a period.
pub(crate) async fn after_customer(
    connection: &mut PgConnection,
    (after, last): (Uuid, Uuid),
    (since, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    limit: i64,
) -> sqlx::Result<Vec<ErasedCustomer>> {
    let select = sqlx::query_as!(
        ErasedCustomer,
        "SELECT customer_id, version, erased_at, message_id FROM erased_customers
        WHERE customer_id > $1 AND customer_id <= $2
            AND ($3::timestamptz IS NULL OR erased_at >= $3) AND ($4::timestamptz IS NULL OR erased_at < $4)
        ORDER BY customer_id LIMIT $5",
        after,
        last,
        since,
        until,
        limit,
    );
    select.fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use contracts::{
        CustomerErased,
        test_util::{assert_valid, validator},
    };
    use uuid::Uuid;

    use super::ErasedCustomer;

    #[test]
    fn event_of_erasure_is_always_the_same_and_matches_contract() {
        let (customer_id, message_id) = (Uuid::now_v7(), Uuid::now_v7());
        let erased = ErasedCustomer { customer_id, version: 7, erased_at: Utc::now(), message_id };
        let event = erased.event(String::new());
        assert_eq!(event, erased.event(String::new()));
        assert_eq!((event.message_id, event.occurred_at), (message_id, erased.erased_at));
        assert_valid(&validator::<CustomerErased>(), &event.body);
    }
}
