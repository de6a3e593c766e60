//! The list of customers as people read it: newest first, searched, page by page.

mod select;

use std::{fmt, time::Duration};

use chrono::{DateTime, NaiveDateTime};
use sqlx::{
    FromRow, MySql, MySqlPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
    pool::PoolConnection,
};
use tokio::time::{Instant, timeout_at};

/// Few, and none of consuming's: however many people look, commands are carried out as fast.
const CONNECTIONS: u32 = 3;

/// How long a person waits for a page.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long counting may take.
const COUNTING: Duration = Duration::from_mins(1);

/// Reads customers.
#[derive(Debug, Clone)]
pub struct List {
    pool: MySqlPool,
}

/// A customer as the table has them. Times are UTC.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the columns' names say it")]
pub struct Row {
    pub customer_id: String,
    pub full_name: String,
    pub email_address: String,
    pub email_opt_in: bool,
    pub source: String,
    pub customer_since: NaiveDateTime,
    pub received_at: NaiveDateTime,
}

/// A row's place in the list. As text: microseconds since 1970, a hyphen, the customer's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    received_at: NaiveDateTime,
    customer_id: String,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the newest row.
    Newest,
    /// After this place, which may be gone by now.
    Below(Place),
    /// The page that ends before this place.
    Above(Place),
}

/// Some rows, newest first.
#[derive(Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there are more in the direction of reading.
    pub more: bool,
}

/// How many customers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub customers: u64,
    /// Those to whom marketing messages may be sent.
    pub opted_in: u64,
}

/// The database is away, or too slow.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It failed.
    #[error("MySQL is away: {0}")]
    Failed(#[from] sqlx::Error),
    /// It did not answer.
    #[error("MySQL did not answer in time")]
    NoAnswer,
}

impl List {
    /// Connects when it is first used, and lets connections go that nobody needs.
    #[must_use]
    pub fn new(database: MySqlConnectOptions) -> Self {
        let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(DEADLINE);
        Self { pool: pool.idle_timeout(Duration::from_mins(1)).connect_lazy_with(database) }
    }

    /// One page of the customers whose name, its last word or e-mail address begins with `search`; of all,
    /// if it is empty. Letters' case and accents make no difference.
    ///
    /// # Errors
    /// The database is away.
    pub async fn page(&self, search: &str, start: &Start, rows: usize) -> Result<Page, Unavailable> {
        self.in_time(DEADLINE, async |connection| select::page(connection, search, start, rows).await).await
    }

    /// When the last customer arrived. `None` if there is none.
    ///
    /// # Errors
    /// The database is away.
    pub async fn last_arrival(&self) -> Result<Option<NaiveDateTime>, Unavailable> {
        let select = sqlx::query_scalar("SELECT MAX(received_at) FROM customers");
        self.in_time(DEADLINE, async |connection| select.fetch_one(&mut **connection).await).await
    }

    /// Counts, which takes a quarter of a second for each million.
    ///
    /// # Errors
    /// The database is away.
    pub async fn count(&self) -> Result<Counts, Unavailable> {
        let select = sqlx::query_as(
            "SELECT CAST(COUNT(*) AS UNSIGNED), CAST(COALESCE(SUM(email_opt_in), 0) AS UNSIGNED) FROM customers",
        );
        let count = async |connection: &mut PoolConnection<MySql>| select.fetch_one(&mut **connection).await;
        let (customers, opted_in) = self.in_time(COUNTING, count).await?;
        Ok(Counts { customers, opted_in })
    }

    /// A connection that missed the deadline is closed: it may be half dead.
    async fn in_time<T>(
        &self,
        deadline: Duration,
        query: impl AsyncFnOnce(&mut PoolConnection<MySql>) -> sqlx::Result<T>,
    ) -> Result<T, Unavailable> {
        let deadline = Instant::now() + deadline;
        let acquired = timeout_at(deadline, self.pool.acquire()).await;
        let mut connection = acquired.map_err(|_| Unavailable::NoAnswer)??;
        if let Ok(answer) = timeout_at(deadline, query(&mut connection)).await {
            return Ok(answer?);
        }
        connection.close_on_drop();
        Err(Unavailable::NoAnswer)
    }
}

impl Row {
    /// The address before its @, and from there on.
    pub(crate) fn local_part_and_domain(&self) -> (&str, &str) {
        self.email_address.split_at(self.email_address.find('@').unwrap_or(0))
    }

    /// Where in the list it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { received_at: self.received_at, customer_id: self.customer_id.clone() }
    }
}

impl Place {
    /// Parses its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (micros, customer_id) = text.split_once('-')?;
        let received_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?.naive_utc();
        let is_id = customer_id.len() <= 36 && customer_id.is_ascii();
        is_id.then(|| Self { received_at, customer_id: customer_id.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.received_at.and_utc().timestamp_micros(), self.customer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Row};

    #[test]
    fn a_place_comes_back_as_it_was_given() {
        let row = Row {
            customer_id: "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".into(),
            full_name: String::new(),
            email_address: String::new(),
            email_opt_in: false,
            source: String::new(),
            customer_since: "2026-01-01T00:00:00".parse().unwrap(),
            received_at: "2026-01-02T03:04:05.678901".parse().unwrap(),
        };
        assert_eq!(Place::parse(&row.place().to_string()), Some(row.place()));
    }

    #[test]
    fn what_is_not_a_place_is_none() {
        for text in ["", "1", "x-1", "1-é", "9223372036854775807-1"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
