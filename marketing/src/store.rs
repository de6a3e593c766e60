//! The customers in MySQL: one statement and one commit per batch.

mod attribution;

use std::{borrow::Cow, iter, time::Duration};

use sqlx::{MySql, MySqlConnection, QueryBuilder};
use telemetry::database_span;
use tokio::time::Instant;

use crate::{
    customer::Customer,
    mysql::{self, DatabaseUrl, MysqlError, is_data_error, with_deadline},
    segment::Segment,
};
use attribution::Attribution;

/// Time for one batch. After it, the connection is closed.
const SAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's limit of one statement, and of its wait for a lock. A new connection and one statement end
/// before [`SAVE_TIMEOUT`], so a retry leaves no thread of the server behind.
const STATEMENT_LIMIT: Duration = Duration::from_secs(5);

/// Writes customers over one connection.
///
/// After a failure other than a rejection, the connection is closed, and the next call opens another one.
pub struct Store {
    database: DatabaseUrl,
    connected: Option<Connected>,
}

struct Connected {
    connection: MySqlConnection,
    segment: Segment,
    /// The name of the server in traces, by its own version: the URL is the same for both.
    system: &'static str,
}

/// The reason for which [`Store::save`] did not save.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A customer breaks a rule of the database. Retrying cannot succeed.
    #[error("{0}")]
    Rejected(String),
    /// MySQL is unavailable. After [`MysqlError::NoReply`] or a broken connection, the batch may have been
    /// saved as a whole.
    #[error(transparent)]
    Unavailable(#[from] MysqlError),
}

impl Store {
    /// Returns a store that connects at its first use.
    #[must_use]
    pub fn new(database: DatabaseUrl) -> Self {
        Self { database, connected: None }
    }

    /// Returns the settings of the connection.
    pub(crate) fn database(&self) -> &DatabaseUrl {
        &self.database
    }

    /// Saves all customers or none, and returns after the commit.
    ///
    /// The highest version of each customer stays in the table, in whatever order the versions arrive. The version of a
    /// forgotten customer is the highest, so its details never return. `trace` is the
    /// parent of the statement's span.
    ///
    /// # Errors
    /// Returns [`SaveError`] if the batch was not saved, or possibly not saved.
    pub async fn save(&mut self, customers: &[&Customer], trace: Option<&str>) -> Result<(), SaveError> {
        if customers.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + SAVE_TIMEOUT;
        let saving = save_with(&self.database, self.connected.take(), customers, trace);
        let (connected, result) = with_deadline(deadline, saving).await?;
        match result.map_err(SaveError::from) {
            Err(SaveError::Unavailable(error)) => Err(SaveError::Unavailable(error)),
            settled => {
                self.connected = Some(connected);
                settled
            }
        }
    }

    /// Saves a customer that MySQL has just rejected, or attributes the rejection: to this customer, or to a
    /// database that rejects every customer.
    ///
    /// # Errors
    /// Returns [`SaveError::Rejected`] if MySQL accepts other customers, and [`SaveError::Unavailable`] with
    /// [`MysqlError::RejectsEveryCustomer`] if it does not.
    pub async fn save_or_attribute(&mut self, customer: &Customer) -> Result<(), SaveError> {
        let deadline = Instant::now() + SAVE_TIMEOUT;
        let attributing = Box::pin(attribute_with(&self.database, self.connected.take(), customer));
        let (connected, attribution) = with_deadline(deadline, attributing).await?;
        let result = match attribution {
            Attribution::Saved => Ok(()),
            Attribution::CustomerAtFault(reason) => Err(SaveError::Rejected(reason)),
            Attribution::DatabaseAtFault(error) => {
                return Err(MysqlError::RejectsEveryCustomer(error).into());
            }
        };
        self.connected = Some(connected);
        result
    }
}

/// Saves over the connection or a new one, and returns the connection.
///
/// A missed deadline drops this future, and with it a connection whose statement is still running.
async fn save_with(
    database: &DatabaseUrl,
    connected: Option<Connected>,
    customers: &[&Customer],
    trace: Option<&str>,
) -> Result<(Connected, sqlx::Result<()>), MysqlError> {
    let mut connected = or_connect(connected, database).await?;
    let mut span = database_span(connected.system, "INSERT customers", trace, iter::empty());
    let result = insert(&mut connected, customers).await;
    if let (Some(span), Err(error)) = (&mut span, &result) {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Cow::into_owned);
        span.fail(code.unwrap_or_else(|| "unavailable".to_owned()));
    }
    drop(span);
    Ok((connected, result))
}

async fn attribute_with(
    database: &DatabaseUrl,
    connected: Option<Connected>,
    customer: &Customer,
) -> Result<(Connected, Attribution), MysqlError> {
    let mut connected = or_connect(connected, database).await?;
    let segment = connected.segment.number();
    let attribution = attribution::save_or_attribute(&mut connected.connection, customer, segment).await?;
    Ok((connected, attribution))
}

async fn or_connect(connected: Option<Connected>, database: &DatabaseUrl) -> Result<Connected, MysqlError> {
    if let Some(connected) = connected {
        return Ok(connected);
    }
    // In a box, so that the future of each batch stays small.
    let mut connection = Box::pin(mysql::connect(database, STATEMENT_LIMIT)).await?;
    let segment = Segment::newest(&mut connection).await?;
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut connection).await?;
    let system = if version.contains("MariaDB") { "mariadb" } else { "mysql" };
    Ok(Connected { connection, segment, system })
}

async fn insert(connected: &mut Connected, customers: &[&Customer]) -> sqlx::Result<()> {
    let Connected { connection, segment, .. } = connected;
    statement(customers, segment.number()).build().execute(connection).await?;
    segment.add(customers.iter().filter(|customer| customer.changed_at().is_none()).count());
    Ok(())
}

/// Returns the statement that saves the customers, with its bound values.
#[must_use]
pub fn statement(customers: &[&Customer], segment: u32) -> QueryBuilder<MySql> {
    // Every session locks rows in the order of the key. Two sessions with the same customers therefore wait
    // for each other instead of deadlocking.
    let mut customers = customers.to_vec();
    customers.sort_by_key(|customer| customer.id());
    pad_to_power_of_two(&mut customers);
    let mut insert = QueryBuilder::<MySql>::new(include_str!("store/insert.sql"));
    insert.push_values(customers, |mut row, customer| {
        row.push_bind(customer.id().to_string())
            .push_bind(customer.full_name())
            .push_bind(customer.email_address())
            .push_bind(customer.email_opt_in())
            .push_bind(customer.source())
            .push_bind(customer.since().naive_utc())
            .push_bind(segment)
            .push_bind(customer.version())
            .push_bind(customer.changed_at().map(|time| time.naive_utc()));
    });
    // Not INSERT IGNORE, which would also ignore values that do not fit. MySQL assigns from left to right, so
    // the version comes last, because the other assignments compare with it. MySQL and MariaDB both support
    // VALUES().
    insert.push(include_str!("store/keep_the_higher_version.sql"));
    insert
}

/// Pads the batch to a power of two with copies of the last customer, which change nothing.
///
/// So a few statements serve all sizes and stay prepared. Closing a prepared statement has no reply, and the
/// client does not set `TCP_NODELAY`. The next statement would therefore wait for the server's delayed
/// acknowledgement, 40 ms.
fn pad_to_power_of_two(customers: &mut Vec<&Customer>) {
    if let Some(last) = customers.last().copied() {
        customers.resize(customers.len().next_power_of_two(), last);
    }
}

impl From<sqlx::Error> for SaveError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if is_data_error(&error) => {
                Self::Rejected(database.message().to_owned())
            }
            _ => Self::Unavailable(error.into()),
        }
    }
}
