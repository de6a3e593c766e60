//! Queries on the Web Store's database.

mod erasure;
mod history;
mod lookup;

use std::time::Duration;

use access::{PostgresUrl, Secret};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Executor, FromRow, PgConnection};
use uuid::Uuid;

use crate::database::{Name, STATEMENT_LIMIT_SECONDS};

pub use erasure::Erased;
pub use history::{Outbox, Replay, Version};
pub use lookup::Extent;

const DATABASE: Name = Name { database: "the Web Store's database", variable: "WEB_STORE_DATABASE_URL" };

/// A customer of the Web Store in the current version.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Customer {
    /// The id of the customer.
    pub id: Uuid,
    /// Versions grow with each change, but not by 1.
    pub version: i64,
    /// The time of the version, by the Web Store's clock.
    pub since: DateTime<Utc>,
    /// Whether the outbox has the event of this version.
    pub in_outbox: bool,
}

/// Recent events of the Web Store, for the page.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Activity {
    /// Customers that registered in [`ACTIVITY_PERIOD`], up to 100,000.
    pub registered: i64,
    /// Events in the outbox that the broker has not refused, up to 10,001.
    pub fresh: i64,
    /// Events in the outbox that the broker has refused, up to 10,001.
    pub parked: i64,
    /// The age of the oldest event in seconds, or 0.
    pub oldest_age: f64,
    /// The age in seconds of the first customer that registered after `newest_arrived`.
    pub first_absent_age: Option<f64>,
}

/// A registration, for the objective.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Registration {
    /// The id of the customer.
    pub id: Uuid,
    /// The time, by the Web Store's clock.
    pub registered_at: DateTime<Utc>,
}

/// The period in which registrations are counted.
pub const ACTIVITY_PERIOD: TimeDelta = TimeDelta::seconds(5);

/// The columns of [`Customer`].
const CUSTOMERS: &str = "SELECT id, version::bigint AS version, coalesce(changed_at, registered_at) AS since,
        outbox.message_id IS NOT NULL AS in_outbox
    FROM customers LEFT JOIN outbox USING (message_id)";

/// A read-only session at the Web Store's database.
pub struct WebStore(PgConnection);

impl WebStore {
    /// Connects with a limit of 50 s for each statement.
    ///
    /// # Errors
    /// Returns an error if there is no connection after 10 s. It names the database and the remedy.
    pub async fn connect(database: &Secret<PostgresUrl>) -> anyhow::Result<Self> {
        // By a statement and not by startup parameters, which `PgBouncer` refuses.
        let settings = format!(
            "SET default_transaction_read_only = on; SET statement_timeout = '{STATEMENT_LIMIT_SECONDS}s'; SET jit = off"
        );
        let connect = async {
            let mut connection = database.connect().await?;
            connection.execute(AssertSqlSafe(settings)).await?;
            Ok(connection)
        };
        Ok(Self(DATABASE.connect(connect).await?))
    }

    /// Returns the time of the server's clock.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn now(&mut self) -> anyhow::Result<DateTime<Utc>> {
        DATABASE.query(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut self.0)).await
    }

    /// Limits each statement to this time on the server, and makes the server use indexes whatever its statistics are.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn limit_statements(&mut self, limit: Duration) -> anyhow::Result<()> {
        // Otherwise a bitmap or a sort would read the whole outbox for its first events.
        let settings = format!(
            "SET statement_timeout = {}; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
             SET enable_bitmapscan = off; SET enable_sort = off",
            limit.as_millis()
        );
        DATABASE.query(self.0.execute(AssertSqlSafe(settings))).await.map(drop)
    }

    /// Returns the recent events. The cost does not depend on the number of customers or events.
    ///
    /// Registrations are counted by the times in their ids, in a period that ended a second ago. So their transactions
    /// have committed.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn activity(&mut self, newest_arrived: Option<Uuid>) -> anyhow::Result<Activity> {
        let select = "WITH
                fresh AS (
                    SELECT queued_at FROM outbox WHERE retry_at IS NULL ORDER BY queued_at, message_id LIMIT 10001
                ),
                parked AS (SELECT queued_at FROM outbox WHERE retry_at IS NOT NULL LIMIT 10001)
            SELECT
                (SELECT count(*) FROM (SELECT FROM customers WHERE id >= $1 AND id < $2 LIMIT 100000) recent)
                    AS registered,
                (SELECT count(*) FROM fresh) AS fresh,
                (SELECT count(*) FROM parked) AS parked,
                coalesce(extract(epoch FROM clock_timestamp() - least(
                    (SELECT min(queued_at) FROM fresh), (SELECT min(queued_at) FROM parked)
                )), 0)::float8 AS oldest_age,
                (SELECT extract(epoch FROM clock_timestamp() - registered_at)::float8
                    FROM customers WHERE id > $3 ORDER BY id LIMIT 1) AS first_absent_age";
        let until = self.now().await? - TimeDelta::seconds(1);
        let select = sqlx::query_as(select).bind(first_id(until - ACTIVITY_PERIOD)).bind(first_id(until));
        DATABASE.query(select.bind(newest_arrived).fetch_one(&mut self.0)).await
    }

    /// Returns up to `limit` registrations with ids from `first` and before `end`, by id.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn registrations(
        &mut self,
        first: Uuid,
        end: Uuid,
        limit: u32,
    ) -> anyhow::Result<Vec<Registration>> {
        let select =
            "SELECT id, registered_at FROM customers WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
        let select = sqlx::query_as(select).bind(first).bind(end).bind(i64::from(limit));
        DATABASE.query(select.fetch_all(&mut self.0)).await
    }

    /// Returns about the number of customers, from the server's statistics.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn approximate_count(&mut self) -> anyhow::Result<u64> {
        let select = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'customers'::regclass";
        let count: i64 = DATABASE.query(sqlx::query_scalar(select).fetch_one(&mut self.0)).await?;
        Ok(count.unsigned_abs())
    }

    /// Returns up to `limit` customers with ids after `after` and up to `last`, by id.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn page(&mut self, after: Uuid, last: Uuid, limit: u32) -> anyhow::Result<Vec<Customer>> {
        let select = format!("{CUSTOMERS} WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3");
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(after).bind(last).bind(i64::from(limit));
        DATABASE.query(select.fetch_all(&mut self.0)).await
    }

    /// Returns up to `limit` customers whose details changed after `after` and up to `until`, by time and id. `after`
    /// is the time and the id of the last customer before.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn changed(
        &mut self,
        after: (DateTime<Utc>, Uuid),
        until: DateTime<Utc>,
        limit: u32,
    ) -> anyhow::Result<Vec<Customer>> {
        let select = format!(
            "{CUSTOMERS} WHERE changed_at IS NOT NULL AND (changed_at, id) > ($1, $2) AND changed_at <= $3
            ORDER BY changed_at, id LIMIT $4"
        );
        let select = sqlx::query_as(AssertSqlSafe(select));
        let select = select.bind(after.0).bind(after.1).bind(until).bind(i64::from(limit));
        DATABASE.query(select.fetch_all(&mut self.0)).await
    }

    /// Returns the current versions of those of `customers` that exist, by id.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn read(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Customer>> {
        let select = format!("{CUSTOMERS} WHERE id = ANY ($1) ORDER BY id");
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(customers);
        DATABASE.query(select.fetch_all(&mut self.0)).await
    }

    /// Returns those of `customers` that have an event of an earlier version in the outbox.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn with_earlier_event(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Uuid>> {
        let select = "SELECT DISTINCT customer_id FROM customer_versions JOIN outbox USING (message_id)
            WHERE customer_id = ANY ($1) ORDER BY customer_id";
        DATABASE.query(sqlx::query_scalar(select).bind(customers).fetch_all(&mut self.0)).await
    }

    /// Returns the number of `ids` that belong to customers.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn count(&mut self, ids: &[Uuid]) -> anyhow::Result<u64> {
        let select = "SELECT count(*) FROM customers WHERE id = ANY ($1)";
        let count: i64 = DATABASE.query(sqlx::query_scalar(select).bind(ids).fetch_one(&mut self.0)).await?;
        Ok(count.unsigned_abs())
    }
}

/// Returns an id before all UUIDs of version 7 of this time, and after all earlier ones.
#[must_use]
pub fn first_id(time: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::try_from(time.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(milliseconds << 80)
}

/// Returns the time in a UUID of version 7.
#[must_use]
pub fn time(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(seconds.try_into().ok()?, nanoseconds)
}

#[cfg(test)]
mod tests {
    use chrono::{SubsecRound, TimeDelta, Utc};
    use uuid::Uuid;

    use super::{first_id, time};

    #[test]
    fn range_of_ids_contains_exactly_its_time() {
        let id = Uuid::now_v7();
        let now = time(id).unwrap();
        assert!((Utc::now() - now) < TimeDelta::seconds(10));
        assert!(first_id(now) < id && id < first_id(now + TimeDelta::milliseconds(1)));
        assert_eq!(now.trunc_subsecs(3), now);
    }
}
