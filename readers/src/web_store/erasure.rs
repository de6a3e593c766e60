//! Queries for data subject requests: erased customers, and everything that is stored about a customer.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{DATABASE, WebStore};

/// A customer that the Web Store has erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, FromRow)]
pub struct Erased {
    /// The id, which remains.
    pub customer_id: Uuid,
    /// The time of the erasure, by the Web Store's clock.
    pub erased_at: DateTime<Utc>,
}

/// The settings of Postgres that limit how long its log of changes keeps old rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct LogSettings {
    /// Whether the server copies its log to an archive: `off`, `on`, or `always`.
    pub archive_mode: String,
    /// The size of the log at which a checkpoint starts, with its unit.
    pub max_wal_size: String,
    /// The longest time between two checkpoints, with its unit.
    pub checkpoint_timeout: String,
}

impl WebStore {
    /// Returns those of `customers` that were erased, by id.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn erased(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Erased>> {
        let select = "SELECT customer_id, erased_at FROM erased_customers
            WHERE customer_id = ANY ($1) ORDER BY customer_id";
        DATABASE.query(sqlx::query_as(select).bind(customers).fetch_all(&mut self.0)).await
    }

    /// Returns all rows about a customer as JSON, each with its table, in the order of the messages' way.
    ///
    /// The key to the details is left out: it is no data about the person, and its reader could change them.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn stored(&mut self, customer: Uuid) -> anyhow::Result<Vec<(String, Value)>> {
        let select = "SELECT 'customers', to_jsonb(customers) - 'edit_key' FROM customers WHERE id = $1
            UNION ALL
            SELECT 'customer_versions', to_jsonb(customer_versions)
                FROM customer_versions WHERE customer_id = $1
            UNION ALL
            SELECT 'outbox', to_jsonb(outbox) FROM outbox JOIN versions USING (message_id)
                WHERE versions.customer_id = $1
            UNION ALL
            SELECT 'erased_customers', to_jsonb(erased_customers)
                FROM erased_customers WHERE customer_id = $1";
        let select = sqlx::query_as::<_, (String, sqlx::types::Json<Value>)>(select).bind(customer);
        let rows = DATABASE.query(select.fetch_all(&mut self.0)).await?;
        Ok(rows.into_iter().map(|(table, row)| (table, row.0)).collect())
    }

    /// Returns the settings of the server's log of changes.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn log_settings(&mut self) -> anyhow::Result<LogSettings> {
        let select = "SELECT current_setting('archive_mode') AS archive_mode,
            current_setting('max_wal_size') AS max_wal_size,
            current_setting('checkpoint_timeout') AS checkpoint_timeout";
        DATABASE.query(sqlx::query_as(select).fetch_one(&mut self.0)).await
    }
}
