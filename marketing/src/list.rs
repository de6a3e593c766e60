//! The list of customers for the operator: newest first, searched, page by page.

mod connections;
mod select;

use std::{fmt, time::Duration};

use chrono::{DateTime, Datelike, NaiveDateTime};
use sqlx::{FromRow, MySqlConnection};

use crate::{
    customer::YEARS,
    mysql::{DatabaseUrl, MysqlError, limit_statements},
};
use connections::Connections;

/// Time that a visitor waits for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a count, which takes a quarter of a second per million rows.
const COUNT_TIMEOUT: Duration = Duration::from_mins(1);

/// The server's limits of a statement. They are shorter than the deadline of the caller, so the server ends a
/// statement before its caller leaves.
const PAGE_STATEMENT_LIMIT: Duration = Duration::from_secs(4);
const COUNT_STATEMENT_LIMIT: Duration = Duration::from_secs(55);

/// Reads customers from MySQL.
#[derive(Debug, Clone)]
pub(crate) struct CustomerList(Connections);

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
        Self(Connections::new(database, PAGE_STATEMENT_LIMIT))
    }

    /// Returns the numbers of connections that are idle and in use.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.0.counts()
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
        let select =
            async |connection: &mut MySqlConnection| select::page(connection, search, start, limit).await;
        self.0.run(PAGE_TIMEOUT, select).await
    }

    /// Returns the time at which the newest row was saved, or `None` if the table is empty.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if MySQL is unavailable or too slow.
    pub(crate) async fn last_arrival(&self) -> Result<Option<NaiveDateTime>, MysqlError> {
        let select = sqlx::query_scalar("SELECT MAX(received_at) FROM customers");
        self.0.run(PAGE_TIMEOUT, async |connection| select.fetch_one(connection).await).await
    }

    /// Counts the customers.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if MySQL is unavailable or too slow.
    pub(crate) async fn count(&self) -> Result<Counts, MysqlError> {
        let count = async |connection: &mut MySqlConnection| {
            limit_statements(connection, COUNT_STATEMENT_LIMIT).await?;
            let counts = select::count(connection).await?;
            limit_statements(connection, PAGE_STATEMENT_LIMIT).await?;
            Ok(counts)
        };
        self.0.run(COUNT_TIMEOUT, count).await
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
