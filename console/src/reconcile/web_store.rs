//! Queries on the Web Store's database.

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use super::with_deadline;

const NAME: &str = "the Web Store's database";

/// A customer of the Web Store.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Customer {
    pub(super) id: Uuid,
    /// Whether the outbox has an event of any version of the customer.
    pub(super) in_outbox: bool,
}

pub(super) struct WebStore(PgConnection);

impl WebStore {
    pub(super) async fn connect(database: &PgConnectOptions) -> anyhow::Result<Self> {
        Ok(Self(with_deadline(NAME, PgConnection::connect_with(database)).await?))
    }

    /// Returns up to `limit` customers after `after`, by id.
    pub(super) async fn customers(&mut self, after: Uuid, limit: u32) -> anyhow::Result<Vec<Customer>> {
        let select = "SELECT id, outbox.message_id IS NOT NULL
                OR EXISTS (SELECT FROM customer_versions JOIN outbox USING (message_id) WHERE customer_id = id)
                AS in_outbox
            FROM customers LEFT JOIN outbox USING (message_id) WHERE id > $1 ORDER BY id LIMIT $2";
        let select = sqlx::query_as(select).bind(after).bind(i64::from(limit));
        with_deadline(NAME, select.fetch_all(&mut self.0)).await
    }

    /// Returns those of `customers` that have an event in the outbox.
    pub(super) async fn in_outbox(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Uuid>> {
        let select = "SELECT DISTINCT customer_id FROM versions JOIN outbox USING (message_id)
            WHERE customer_id = ANY ($1)";
        with_deadline(NAME, sqlx::query_scalar(select).bind(customers).fetch_all(&mut self.0)).await
    }

    /// Returns the number of `ids` that belong to customers.
    pub(super) async fn count(&mut self, ids: &[Uuid]) -> anyhow::Result<u64> {
        let select = "SELECT count(*) FROM customers WHERE id = ANY ($1)";
        let count: i64 =
            with_deadline(NAME, sqlx::query_scalar(select).bind(ids).fetch_one(&mut self.0)).await?;
        Ok(count.try_into()?)
    }
}
