//! Queries on Marketing's database.

use futures_util::stream::BoxStream;
use sqlx::{Connection, MySql, MySqlConnection, QueryBuilder, mysql::MySqlConnectOptions};
use uuid::Uuid;

use super::with_deadline;

pub(super) const NAME: &str = "Marketing's database";

/// The number of rows with one customer's id. It is counted, so reconciliation does not rely on a primary key.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct CustomerRows {
    pub(super) customer_id: String,
    pub(super) count: i64,
    /// The number of these rows whose source is the Web Store.
    pub(super) from_web_store: i64,
}

pub(super) struct Marketing(MySqlConnection);

impl Marketing {
    pub(super) async fn connect(database: &MySqlConnectOptions) -> anyhow::Result<Self> {
        Ok(Self(with_deadline(NAME, MySqlConnection::connect_with(database)).await?))
    }

    /// Streams the rows with ids after `after` and up to `last`, by id. Without `last` there is no upper limit.
    /// The ids are text that sorts as UUIDs do.
    pub(super) fn rows(
        &mut self,
        after: Uuid,
        last: Option<Uuid>,
    ) -> BoxStream<'_, sqlx::Result<CustomerRows>> {
        let select = "SELECT customer_id, COUNT(*) AS count,
                COUNT(CASE WHEN source = 'web-store' THEN 1 END) AS from_web_store
            FROM customers WHERE customer_id > ? AND customer_id <= ?
            GROUP BY customer_id ORDER BY customer_id";
        let after = if after.is_nil() { String::new() } else { after.to_string() };
        let last = last.map_or_else(|| "~".to_owned(), |id| id.to_string());
        sqlx::query_as(select).bind(after).bind(last).fetch(&mut self.0)
    }

    /// Returns the number of rows of each of `customers`, without those that have no row.
    pub(super) async fn count(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<(Uuid, i64)>> {
        let mut select =
            QueryBuilder::<MySql>::new("SELECT customer_id, COUNT(*) FROM customers WHERE customer_id IN (");
        let mut ids = select.separated(", ");
        for customer in customers {
            ids.push_bind(customer.to_string());
        }
        select.push(") GROUP BY customer_id");
        let rows = select.build_query_as::<(String, i64)>().persistent(false);
        let rows = with_deadline(NAME, rows.fetch_all(&mut self.0)).await?;
        rows.into_iter().map(|(id, count)| Ok((id.parse()?, count))).collect()
    }
}
