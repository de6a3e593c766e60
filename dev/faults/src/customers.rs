//! The comparison of both applications' customers with the confirmed registrations.

use std::collections::HashSet;

use anyhow::Context;
use sqlx::{MySqlPool, PgPool};

use crate::fuzz::number_of;

/// The customers of both applications, and the confirmed registrations.
pub(crate) struct Customers {
    confirmed: HashSet<String>,
    pub(crate) stored: HashSet<String>,
    /// The number of rows in Marketing.
    pub(crate) rows: usize,
    pub(crate) row_ids: HashSet<String>,
    row_addresses: HashSet<String>,
    /// The ids of rows that valid ones among the poison messages have created.
    pub(crate) poison_ids: HashSet<String>,
}

impl Customers {
    /// Reads the customers of both applications.
    pub(crate) async fn read(
        web_store_database: &PgPool,
        marketing_database: &MySqlPool,
        confirmed: HashSet<String>,
    ) -> anyhow::Result<Self> {
        let stored: Vec<String> = sqlx::query_scalar("SELECT id::text FROM customers")
            .fetch_all(web_store_database)
            .await
            .context("cannot read the Web Store's customers")?;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT customer_id, lower(email_address) FROM customers")
                .fetch_all(marketing_database)
                .await
                .context("cannot read Marketing's customers")?;
        let (poison, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(id, _)| number_of(id).is_some());
        let count = rows.len();
        let (row_ids, row_addresses) = rows.into_iter().unzip();
        Ok(Self {
            confirmed,
            stored: stored.into_iter().collect(),
            rows: count,
            row_ids,
            row_addresses,
            poison_ids: poison.into_iter().map(|(id, _)| id).collect(),
        })
    }

    /// Returns the number of customers who are confirmed or stored, and have no row.
    pub(crate) fn lost(&self) -> usize {
        self.confirmed.union(&self.stored).filter(|id| !self.row_ids.contains(*id)).count()
    }

    /// Returns the number of excess rows, by customer id or by e-mail address.
    pub(crate) fn duplicated(&self) -> usize {
        self.rows - self.row_ids.len().min(self.row_addresses.len())
    }
}
