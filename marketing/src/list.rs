//! The list of customers for the operator: newest first, searched, page by page.

mod select;

use std::{fmt, time::Duration};

use chrono::{DateTime, Datelike, NaiveDateTime};
use sqlx::{
    Connection, FromRow, MySql, MySqlPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
    pool::PoolConnection,
};
use tokio::time::{Instant, timeout};

use crate::{
    customer::YEARS,
    mysql::{self, DatabaseUrl, MysqlError, limit_statements, with_deadline},
};

/// Few connections, and none of the consumers': any number of page requests leaves the consumers their speed.
const MAX_CONNECTIONS: u32 = 3;

/// Time until an unused connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Time that a visitor waits for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a count, which takes a quarter of a second per million rows.
const COUNT_TIMEOUT: Duration = Duration::from_mins(1);

/// Time for the reply to a ping, which shows that an unused connection still works.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The server's limits of a statement. They are shorter than the deadline of the caller, so the server ends a
/// statement before its caller leaves.
const PAGE_STATEMENT_LIMIT: Duration = Duration::from_secs(4);
const COUNT_STATEMENT_LIMIT: Duration = Duration::from_secs(55);

/// Reads customers from MySQL.
#[derive(Debug, Clone)]
pub(crate) struct CustomerList {
    database: DatabaseUrl,
    pool: MySqlPool,
}

/// A row of the table `customers`. Times are UTC.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Row {
    pub(crate) customer_id: String,
    pub(crate) full_name: String,
    pub(crate) email_address: String,
    pub(crate) email_opt_in: bool,
    pub(crate) source: String,
    pub(crate) customer_since: NaiveDateTime,
    pub(crate) received_at: NaiveDateTime,
}

/// The position of a row in the list. As text: microseconds since 1970, a hyphen, the customer's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    received_at: NaiveDateTime,
    customer_id: String,
}

/// The start of a page in the list, which is ordered from new to old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStart {
    /// The newest row.
    First,
    /// The row after the cursor. The cursor's own row need not exist.
    After(Cursor),
    /// The page that ends before the cursor.
    Before(Cursor),
}

/// Rows of one page, newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// Whether more rows follow: older rows, or newer ones for [`PageStart::Before`].
    pub(crate) more: bool,
}

/// Numbers of customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) customers: u64,
    /// Customers who accept marketing e-mail.
    pub(crate) opted_in: u64,
}

impl CustomerList {
    /// Returns a list that connects at its first use and closes idle connections.
    pub(crate) fn new(database: DatabaseUrl) -> Self {
        let pool = MySqlPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PAGE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(limit_statements(connection, PAGE_STATEMENT_LIMIT)) //
            })
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                Box::pin(async {
                    Ok(timeout(PING_TIMEOUT, connection.ping()).await.is_ok_and(|ping| ping.is_ok()))
                })
            })
            .connect_lazy_with(MySqlConnectOptions::new());
        Self { database, pool }
    }

    /// Returns the numbers of connections that are idle and in use.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let idle = self.pool.num_idle();
        (idle, usize::try_from(self.pool.size()).unwrap_or(usize::MAX).saturating_sub(idle))
    }

    /// Returns up to `limit` customers whose name, last word of the name, or e-mail address begins with
    /// `search`. An empty search matches all customers. Letter case and accents make no difference.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if MySQL is unavailable or too slow.
    pub(crate) async fn page(
        &self,
        search: &str,
        start: &PageStart,
        limit: usize,
    ) -> Result<Page, MysqlError> {
        let select = async |connection: &mut PoolConnection<MySql>| {
            select::page(connection, search, start, limit).await
        };
        self.query(PAGE_TIMEOUT, select).await
    }

    /// Returns the time at which the newest row was saved, or `None` if the table is empty.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if MySQL is unavailable or too slow.
    pub(crate) async fn last_arrival(&self) -> Result<Option<NaiveDateTime>, MysqlError> {
        let select = sqlx::query_scalar("SELECT MAX(received_at) FROM customers");
        self.query(PAGE_TIMEOUT, async |connection| select.fetch_one(&mut **connection).await).await
    }

    /// Counts the customers.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if MySQL is unavailable or too slow.
    pub(crate) async fn count(&self) -> Result<Counts, MysqlError> {
        let count = async |connection: &mut PoolConnection<MySql>| {
            limit_statements(connection, COUNT_STATEMENT_LIMIT).await?;
            let counts = select::count(connection).await?;
            limit_statements(connection, PAGE_STATEMENT_LIMIT).await?;
            Ok(counts)
        };
        self.query(COUNT_TIMEOUT, count).await
    }

    /// Runs a query over a connection of the pool. A connection that fails or misses the deadline is closed: it
    /// may be half open, or lead to a server that is no longer the primary.
    async fn query<T>(
        &self,
        limit: Duration,
        query: impl AsyncFnOnce(&mut PoolConnection<MySql>) -> sqlx::Result<T>,
    ) -> Result<T, MysqlError> {
        let deadline = Instant::now() + limit;
        // The file with the URL may have changed.
        self.pool.set_connect_options(mysql::options(&self.database)?);
        let mut connection = with_deadline(deadline, self.pool.acquire()).await?;
        let result = with_deadline(deadline, query(&mut connection)).await;
        if result.is_err() {
            connection.close_on_drop();
        }
        result
    }
}

impl Row {
    /// Returns the e-mail address in two parts, split before the @.
    pub(crate) fn local_part_and_domain(&self) -> (&str, &str) {
        self.email_address.split_at(self.email_address.find('@').unwrap_or(0))
    }

    /// Returns the position of this row in the list.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { received_at: self.received_at, customer_id: self.customer_id.clone() }
    }
}

impl Cursor {
    /// Parses the text of a cursor, whose time must fit into a MySQL DATETIME.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, customer_id) = text.split_once('-')?;
        let received_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?.naive_utc();
        let is_id = customer_id.len() <= 36 && customer_id.is_ascii();
        let is_valid = is_id && YEARS.contains(&received_at.year());
        is_valid.then(|| Self { received_at, customer_id: customer_id.to_owned() })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.received_at.and_utc().timestamp_micros(), self.customer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Row};

    #[test]
    fn cursor_text_parses_to_same_cursor() {
        let row = Row {
            customer_id: "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".into(),
            full_name: String::new(),
            email_address: String::new(),
            email_opt_in: false,
            source: String::new(),
            customer_since: "2026-01-01T00:00:00".parse().unwrap(),
            received_at: "2026-01-02T03:04:05.678901".parse().unwrap(),
        };
        assert_eq!(Cursor::parse(&row.cursor().to_string()), Some(row.cursor()));
    }

    #[test]
    fn other_text_is_not_a_cursor() {
        for text in ["", "1", "x-1", "1-é", "9223372036854775807-1", "253402300800000000-1"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
