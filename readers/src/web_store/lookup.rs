//! Queries that find customers by an e-mail address or by a message id.
//!
//! No index has the message ids. An id of a message is a UUID of version 7 with the time of its version, though. So the
//! version is found by its time, through the key of the customers and through the index of their changes.

use chrono::TimeDelta;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::{DATABASE, WebStore, first_id, time};

/// The largest difference between the time in a message id and the time of its version. Both are set for the same
/// request, which ends after seconds.
const TOLERANCE: TimeDelta = TimeDelta::seconds(10);

/// The number of versions that count as recent: the newest registrations, and the newest changes.
const RECENT: u32 = 50_000;

/// The number of versions in one page of a scan.
const PAGE: u32 = 50_000;

/// The event of a version.
#[derive(Debug, Clone, Copy, FromRow)]
struct VersionEvent {
    customer_id: Uuid,
    version: i32,
    message_id: Uuid,
    is_registration: bool,
}

/// The versions that a search for a message reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The newest registrations and changes, by an index.
    Recent,
    /// All versions, page by page.
    All,
}

impl WebStore {
    /// Returns the customers with an e-mail address, which differs at most in case. The index of the addresses is
    /// unique.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn with_email(&mut self, email: &str) -> anyhow::Result<Vec<Uuid>> {
        let select = r#"SELECT id FROM customers WHERE lower(email COLLATE "C") = lower($1 COLLATE "C")"#;
        DATABASE.query(sqlx::query_scalar(select).bind(email).fetch_all(&mut self.0)).await
    }

    /// Returns the customer of an event, by indexes only: an event in the outbox, a registration, or the newest change
    /// of a customer.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn of_event(&mut self, message_id: Uuid) -> anyhow::Result<Option<Uuid>> {
        let select = "SELECT (body::json ->> 'customer_id')::uuid FROM outbox WHERE message_id = $1";
        let waiting = sqlx::query_scalar(select).bind(message_id).fetch_optional(&mut self.0);
        if let Some(customer) = DATABASE.query(waiting).await? {
            return Ok(customer);
        }
        let Some(time) = time(message_id) else { return Ok(None) };
        let (from, until) = (time - TOLERANCE, time + TOLERANCE);
        let select = "SELECT id FROM customers WHERE id >= $2 AND id < $3 AND message_id = $1
            UNION ALL
            SELECT customer_id FROM customer_versions
            WHERE customer_id >= $2 AND customer_id < $3 AND message_id = $1
            UNION ALL
            SELECT id FROM customers
            WHERE changed_at IS NOT NULL AND changed_at >= $4 AND changed_at < $5 AND message_id = $1
            LIMIT 1";
        let select = sqlx::query_scalar(select).bind(message_id);
        let select = select.bind(first_id(from)).bind(first_id(until)).bind(from).bind(until);
        DATABASE.query(select.fetch_optional(&mut self.0)).await
    }

    /// Returns the customer with an event for which `is_wanted` holds. It receives the message id, and whether the event
    /// is a registration.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn find_event(
        &mut self,
        extent: Extent,
        is_wanted: impl Fn(Uuid, bool) -> bool,
    ) -> anyhow::Result<Option<Uuid>> {
        let is_wanted = |event: &&VersionEvent| is_wanted(event.message_id, event.is_registration);
        for (table, id, order) in [
            ("customers", "id", "ORDER BY id DESC"),
            ("customers", "id", "AND changed_at IS NOT NULL ORDER BY changed_at DESC, id DESC"),
            ("customer_versions", "customer_id", "ORDER BY customer_id DESC"),
        ] {
            let select = format!("{} WHERE TRUE {order} LIMIT {RECENT}", events(table, id));
            let select = sqlx::query_as(AssertSqlSafe(select));
            let events: Vec<VersionEvent> = DATABASE.query(select.fetch_all(&mut self.0)).await?;
            if let Some(found) = events.iter().find(is_wanted) {
                return Ok(Some(found.customer_id));
            }
        }
        if extent == Extent::Recent {
            return Ok(None);
        }
        for (table, id) in [("customers", "id"), ("customer_versions", "customer_id")] {
            let select = format!(
                "{} WHERE {id} >= $1 AND ({id}, version) > ($1, $2) ORDER BY {id}, version LIMIT {PAGE}",
                events(table, id)
            );
            let mut after = Some((Uuid::nil(), 0));
            while let Some((customer, version)) = after {
                let select = sqlx::query_as(AssertSqlSafe(select.clone())).bind(customer).bind(version);
                let page: Vec<VersionEvent> = DATABASE.query(select.fetch_all(&mut self.0)).await?;
                if let Some(found) = page.iter().find(is_wanted) {
                    return Ok(Some(found.customer_id));
                }
                after = page.last().map(|last| (last.customer_id, last.version));
            }
        }
        Ok(None)
    }
}

/// Returns the selection of events in a table. `id` is the column of the customer.
fn events(table: &str, id: &str) -> String {
    format!(
        "SELECT {id} AS customer_id, version, message_id, changed_at IS NULL AS is_registration FROM {table}"
    )
}
