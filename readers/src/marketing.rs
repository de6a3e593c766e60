//! Queries on Marketing's database.

use std::time::Duration;

use access::{MysqlUrl, Secret};
use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::{TryStreamExt, stream::BoxStream};
use marketing::customer::FORGOTTEN_VERSION;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Executor, FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::database::{Name, STATEMENT_LIMIT_SECONDS};

const DATABASE: Name = Name { database: "Marketing's database", variable: "MARKETING_DATABASE_URL" };

/// The rows with one customer's id. They are counted, so reconciliation does not rely on a primary key.
#[derive(Debug, FromRow)]
pub struct CustomerRows {
    /// The id, as the column has it.
    pub customer_id: String,
    /// The number of rows.
    pub count: i64,
    /// The highest version.
    pub version: i64,
    /// The number of these rows whose source is the Web Store.
    pub from_web_store: i64,
}

/// The columns of [`CustomerRows`].
const ROWS: &str = "SELECT customer_id, COUNT(*) AS count, CAST(MAX(version) AS SIGNED) AS version,
        COUNT(CASE WHEN source = 'web-store' THEN 1 END) AS from_web_store
    FROM customers";

/// A row of the table `customers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Row {
    /// The id of the customer.
    pub customer_id: String,
    /// The name; personal data.
    pub full_name: String,
    /// The e-mail address; personal data.
    pub email_address: String,
    /// Whether the customer agrees to e-mails of Marketing.
    pub email_opt_in: bool,
    /// The application that the customer comes from.
    pub source: String,
    /// The time of the registration, in UTC.
    pub customer_since: NaiveDateTime,
    /// The version of the details. A higher one replaces a lower one.
    pub version: u32,
    /// The time of the last change in UTC, or `None` after the registration.
    pub changed_at: Option<NaiveDateTime>,
}

impl Row {
    /// Returns whether the row is of a forgotten customer, and has no details.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.version == FORGOTTEN_VERSION
    }
}

impl CustomerRows {
    /// Returns whether Marketing has forgotten the customer.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.version == i64::from(FORGOTTEN_VERSION)
    }
}

/// A row with the time at which Marketing inserted it.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct ReceivedRow {
    /// The row.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub row: Row,
    /// The time of the insert, in UTC by the clock of Marketing's database.
    pub received_at: NaiveDateTime,
}

/// Recent rows of Marketing, for the page.
#[derive(Debug, Clone, FromRow)]
pub struct Arrivals {
    /// Rows that were inserted in the last 5 seconds, up to 100,000.
    pub arrived: i64,
    /// The age of the newest row in microseconds.
    pub last_arrival_age: Option<i64>,
    /// The newest customer of the Web Store among the last 100 rows.
    pub newest: Option<String>,
}

/// A read-only session at Marketing's database.
pub struct Marketing(MySqlConnection);

/// A stream of rows in the order of the ids.
pub struct Rows<'a>(BoxStream<'a, sqlx::Result<CustomerRows>>);

impl Rows<'_> {
    /// Returns the rows of the next customer.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn next(&mut self) -> anyhow::Result<Option<CustomerRows>> {
        DATABASE.query(self.0.try_next()).await
    }
}

impl Marketing {
    /// Connects with a limit of 50 s for each statement.
    ///
    /// # Errors
    /// Returns an error if there is no connection after 10 s. It names the database and the remedy.
    pub async fn connect(database: &Secret<MysqlUrl>) -> anyhow::Result<Self> {
        // MySQL and MariaDB each run only one of the comments, because the limit has another name there:
        // https://mariadb.com/docs/server/reference/sql-statements/comment-syntax
        let settings = format!(
            "SET autocommit = 1, lock_wait_timeout = {STATEMENT_LIMIT_SECONDS} \
             /*!80000 , max_execution_time = {STATEMENT_LIMIT_SECONDS}000 */ \
             /*M! , max_statement_time = {STATEMENT_LIMIT_SECONDS} */"
        );
        let connect = async {
            let mut connection = database.connect().await?;
            connection.execute(AssertSqlSafe(settings)).await?;
            connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
            Ok(connection)
        };
        Ok(Self(DATABASE.connect(connect).await?))
    }

    /// Limits each statement to this time on the server.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn limit_statements(&mut self, limit: Duration) -> anyhow::Result<()> {
        let milliseconds = limit.as_millis();
        let seconds = limit.as_secs_f64();
        let settings = format!(
            "SET autocommit = 1 /*!80000 , max_execution_time = {milliseconds} */ /*M! , max_statement_time = {seconds} */"
        );
        DATABASE.query(self.0.execute(AssertSqlSafe(settings))).await.map(drop)
    }

    /// Returns the recent rows. The cost does not depend on the number of rows.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn arrivals(&mut self) -> anyhow::Result<Arrivals> {
        let select = "SELECT
                (SELECT COUNT(*) FROM (
                    SELECT 1 FROM customers WHERE received_at >= UTC_TIMESTAMP(6) - INTERVAL 5 SECOND LIMIT 100000
                ) recent) AS arrived,
                (SELECT TIMESTAMPDIFF(MICROSECOND, MAX(received_at), UTC_TIMESTAMP(6)) FROM customers)
                    AS last_arrival_age,
                (SELECT MAX(customer_id) FROM (
                    SELECT customer_id, source FROM customers ORDER BY received_at DESC, customer_id DESC LIMIT 100
                ) latest WHERE source = 'web-store') AS newest";
        DATABASE.query(sqlx::query_as(select).fetch_one(&mut self.0)).await
    }

    /// Streams the rows with ids after `after` and up to `last`, by id. Without `last` there is no upper limit.
    /// The ids are text that sorts as UUIDs do.
    pub fn rows(&mut self, after: Uuid, last: Option<Uuid>) -> Rows<'_> {
        let select = format!(
            "{ROWS} WHERE customer_id > ? AND customer_id <= ? GROUP BY customer_id ORDER BY customer_id"
        );
        let after = if after.is_nil() { String::new() } else { after.to_string() };
        let last = last.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(after).bind(last);
        Rows(select.fetch(&mut self.0))
    }

    /// Returns the rows of `customers`, by id. Customers without a row are left out.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn read(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<(Uuid, CustomerRows)>> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = QueryBuilder::<MySql>::new(ROWS);
        select.push(" WHERE customer_id IN (");
        let mut ids = select.separated(", ");
        for customer in customers {
            ids.push_bind(customer.to_string());
        }
        select.push(") GROUP BY customer_id ORDER BY customer_id");
        let rows = select.build_query_as::<CustomerRows>().persistent(false);
        let rows = DATABASE.query(rows.fetch_all(&mut self.0)).await?;
        rows.into_iter().map(|rows| Ok((rows.customer_id.parse()?, rows))).collect()
    }

    /// Returns the times at which the rows of up to a few thousand customers were inserted. Customers without a row are
    /// left out.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn arrivals_of(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<(Uuid, DateTime<Utc>)>> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = QueryBuilder::<MySql>::new(
            "SELECT customer_id, MIN(received_at) FROM customers WHERE customer_id IN (",
        );
        let mut ids = select.separated(", ");
        for customer in customers {
            ids.push_bind(customer.to_string());
        }
        select.push(") GROUP BY customer_id");
        let rows = select.build_query_as::<(String, NaiveDateTime)>().persistent(false);
        let rows = DATABASE.query(rows.fetch_all(&mut self.0)).await?;
        rows.into_iter().map(|(id, received_at)| Ok((id.parse()?, received_at.and_utc()))).collect()
    }

    /// Returns the rows of up to a few thousand customers. Customers without a row are left out.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn customers(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Row>> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = QueryBuilder::<MySql>::new(
            "SELECT customer_id, full_name, email_address, email_opt_in, source, customer_since, version, changed_at
            FROM customers WHERE customer_id IN (",
        );
        let mut ids = select.separated(", ");
        for customer in customers {
            ids.push_bind(customer.to_string());
        }
        select.push(")");
        DATABASE.query(select.build_query_as::<Row>().persistent(false).fetch_all(&mut self.0)).await
    }

    /// Returns the rows of customers, each with its time, by customer.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn received(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<ReceivedRow>> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = QueryBuilder::<MySql>::new(
            "SELECT customer_id, full_name, email_address, email_opt_in, source, customer_since, version, changed_at,
                received_at
            FROM customers WHERE customer_id IN (",
        );
        let mut ids = select.separated(", ");
        for customer in customers {
            ids.push_bind(customer.to_string());
        }
        select.push(") ORDER BY customer_id, version");
        DATABASE.query(select.build_query_as::<ReceivedRow>().persistent(false).fetch_all(&mut self.0)).await
    }

    /// Returns up to `limit` customers with an e-mail address, which differs at most in case.
    ///
    /// The index of the addresses consists of segments of about 65,536 rows. The query searches each of them.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn with_email(&mut self, email: &str, limit: usize) -> anyhow::Result<Vec<Uuid>> {
        let newest = sqlx::query_scalar("SELECT MAX(search_segment) FROM customers").fetch_one(&mut self.0);
        let newest: Option<u32> = DATABASE.query(newest).await?;
        let segments: Vec<_> = (0..=newest.unwrap_or(0)).map(|segment| segment.to_string()).collect();
        let select = format!(
            "SELECT customer_id, email_address FROM customers FORCE INDEX (by_email)
            WHERE search_segment IN ({}) AND email_address = ? LIMIT {limit}",
            segments.join(",")
        );
        let select = sqlx::query_as(AssertSqlSafe(select)).bind(email).persistent(false);
        let rows: Vec<(String, String)> = DATABASE.query(select.fetch_all(&mut self.0)).await?;
        // The collation also ignores accents.
        let rows = rows.into_iter().filter(|(_, found)| found.eq_ignore_ascii_case(email));
        let mut ids: Vec<Uuid> = rows.filter_map(|(id, _)| id.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Returns the time in seconds after which the server deletes its binary logs, where 0 means never. Returns `None` if
    /// it writes none.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn binlog_seconds(&mut self) -> anyhow::Result<Option<i64>> {
        let select = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_expire_logs_seconds')";
        let variables: Vec<(String, String)> =
            DATABASE.query(sqlx::query_as(select).fetch_all(&mut self.0)).await?;
        let value = |name: &str| variables.iter().find(|(found, _)| found == name).map(|(_, value)| value);
        let is_on = value("log_bin").is_some_and(|value| value == "ON" || value == "1");
        Ok(is_on
            .then(|| value("binlog_expire_logs_seconds").and_then(|value| value.parse().ok()).unwrap_or(0)))
    }

    /// Returns whether the server is read-only for the services.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn is_read_only(&mut self) -> anyhow::Result<bool> {
        let select = sqlx::query_scalar("SELECT UPPER(CAST(@@GLOBAL.read_only AS CHAR)) NOT IN ('0', 'OFF')");
        let is_read_only: i64 = DATABASE.query(select.fetch_one(&mut self.0)).await?;
        Ok(is_read_only != 0)
    }
}
