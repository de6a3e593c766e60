//! Marketing's side of the books: the rows of its table.

use anyhow::Result;
use futures_util::stream::BoxStream;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use super::deadline::with_deadline;

pub(super) const NAME: &str = "Marketing's database";

/// The rows with one customer's id. They are counted: that there is a primary key is not taken for granted.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Rows {
    pub(super) customer_id: String,
    pub(super) count: i64,
    /// How many of them say that they come from the Web Store.
    pub(super) from_web_store: i64,
}

pub(super) struct Marketing(MySqlConnection);

impl Marketing {
    pub(super) async fn connect(database: &MySqlConnectOptions) -> Result<Self> {
        Ok(Self(with_deadline(NAME, MySqlConnection::connect_with(database)).await?))
    }

    /// All rows after one id and up to another, by id; to the end if there is no other. Ids are stored as
    /// text that sorts as they do.
    pub(super) fn rows(&mut self, after: Uuid, last: Option<Uuid>) -> BoxStream<'_, sqlx::Result<Rows>> {
        let select = "SELECT customer_id, COUNT(*) AS count,
                COUNT(CASE WHEN source = 'web-store' THEN 1 END) AS from_web_store
            FROM customers WHERE customer_id > ? AND customer_id <= ?
            GROUP BY customer_id ORDER BY customer_id";
        let after = if after.is_nil() { String::new() } else { after.to_string() };
        let last = last.map_or_else(|| "~".to_owned(), |id| id.to_string());
        sqlx::query_as(select).bind(after).bind(last).fetch(&mut self.0)
    }

    /// How many rows there are for each of some customers; nothing for those who have none.
    pub(super) async fn count(&mut self, customers: &[Uuid]) -> Result<Vec<(Uuid, i64)>> {
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
