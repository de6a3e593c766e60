//! The Web Store's side of the books: its customers and its outbox.

use anyhow::Result;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::deadline::with_deadline;

const NAME: &str = "the Web Store's database";

/// A customer as the Web Store has them.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Customer {
    pub(super) id: Uuid,
    /// Whether an event that tells of them, in whatever version, has not left yet.
    pub(super) in_outbox: bool,
}

pub(super) struct WebStore(PgConnection);

impl WebStore {
    pub(super) async fn connect(database: &PgConnectOptions) -> Result<Self> {
        Ok(Self(with_deadline(NAME, PgConnection::connect_with(database)).await?))
    }

    /// Up to `most` customers after `after`, by id.
    pub(super) async fn customers(&mut self, after: Uuid, most: u32) -> Result<Vec<Customer>> {
        let select = "SELECT id, outbox.message_id IS NOT NULL
                OR EXISTS (SELECT FROM customer_versions JOIN outbox USING (message_id) WHERE customer_id = id)
                AS in_outbox
            FROM customers LEFT JOIN outbox USING (message_id) WHERE id > $1 ORDER BY id LIMIT $2";
        let select = sqlx::query_as(select).bind(after).bind(i64::from(most));
        with_deadline(NAME, select.fetch_all(&mut self.0)).await
    }

    /// Those of some customers whose event is in the outbox.
    pub(super) async fn in_outbox(&mut self, customers: &[Uuid]) -> Result<Vec<Uuid>> {
        let select = "SELECT DISTINCT customer_id FROM versions JOIN outbox USING (message_id)
            WHERE customer_id = ANY ($1)";
        with_deadline(NAME, sqlx::query_scalar(select).bind(customers).fetch_all(&mut self.0)).await
    }

    /// How many of some ids are customers'.
    pub(super) async fn count(&mut self, ids: &[Uuid]) -> Result<u64> {
        let select = "SELECT count(*) FROM customers WHERE id = ANY ($1)";
        let count: i64 =
            with_deadline(NAME, sqlx::query_scalar(select).bind(ids).fetch_one(&mut self.0)).await?;
        Ok(count.try_into()?)
    }
}
