//! The customers in MySQL: a batch is one statement and one commit.

use std::{borrow::Cow, time::Duration};

use sqlx::{Connection, Executor, MySql, MySqlConnection, QueryBuilder, mysql::MySqlConnectOptions};
use tokio::time::timeout;

use crate::{customer::Customer, segment::Segment};

/// How long MySQL may take for a batch before its connection is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes customers, over one connection. After any failure but a rejection the connection is dropped
/// and the next call makes another.
pub struct Store {
    database: MySqlConnectOptions,
    open: Option<Open>,
}

struct Open {
    connection: MySqlConnection,
    segment: Segment,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// One of the customers breaks a rule of the database, and always will.
    #[error("{0}")]
    Rejected(String),
    /// The database is away, or too busy.
    #[error("MySQL is away: {0}")]
    Unavailable(sqlx::Error),
    /// It did not answer. The batch may yet be saved, as a whole or not at all.
    #[error("MySQL did not answer in time")]
    NoAnswer,
}

impl Store {
    /// A store that connects when it is first used.
    #[must_use]
    pub fn new(database: MySqlConnectOptions) -> Self {
        Self { database, open: None }
    }

    /// Saves all or none, and returns once they are durable. Of a customer that is there already the higher
    /// version stays, in whatever order they come.
    ///
    /// # Errors
    /// Nothing was saved; for [`SaveError::NoAnswer`], or a connection that broke, all may be.
    pub async fn save(&mut self, customers: &[&Customer]) -> Result<(), SaveError> {
        if customers.is_empty() {
            return Ok(());
        }
        let open = self.open.take();
        let saved = timeout(DEADLINE, save_with(&self.database, open, customers)).await;
        let (open, result) = saved.map_err(|_| SaveError::NoAnswer)?.map_err(SaveError::Unavailable)?;
        match result.map_err(SaveError::from) {
            Err(SaveError::Unavailable(error)) => Err(SaveError::Unavailable(error)),
            settled => {
                self.open = Some(open);
                settled
            }
        }
    }
}

/// Gives the connection back only from here, so that a deadline in between drops it with all it may
/// have left undone.
async fn save_with(
    database: &MySqlConnectOptions,
    open: Option<Open>,
    customers: &[&Customer],
) -> sqlx::Result<(Open, sqlx::Result<()>)> {
    let mut open = match open {
        Some(open) => open,
        None => connect(database).await?,
    };
    let result = insert(&mut open, customers).await;
    Ok((open, result))
}

async fn connect(database: &MySqlConnectOptions) -> sqlx::Result<Open> {
    let mut connection = MySqlConnection::connect_with(database).await?;
    // Each statement is its own commit; a server may have another default.
    connection.execute("SET autocommit = 1").await?;
    let segment = Segment::newest(&mut connection).await?;
    Ok(Open { connection, segment })
}

async fn insert(Open { connection, segment }: &mut Open, customers: &[&Customer]) -> sqlx::Result<()> {
    statement(customers, segment.number()).build().execute(connection).await?;
    segment.add(customers.iter().filter(|customer| customer.changed_at().is_none()).count());
    Ok(())
}

/// The statement that saves them, with all that it binds.
#[must_use]
pub fn statement(customers: &[&Customer], segment: u32) -> QueryBuilder<MySql> {
    // In the order of the key, as everybody does it: two sessions with the same customers in hand then wait
    // for each other instead of each holding what the other needs.
    let mut customers = customers.to_vec();
    customers.sort_by_key(|customer| customer.id());
    fill_up(&mut customers);
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
    // Not INSERT IGNORE: that would also swallow what does not fit. Assignments take place one after another, so
    // the version, by which the others are decided, comes last. VALUES() is what MySQL and MariaDB both know.
    insert.push(include_str!("store/keep_the_higher_version.sql"));
    insert
}

/// To the next power of two, with copies of the last one, which change nothing. So a few statements do for
/// all sizes, and they stay prepared: to close one gets no answer, and whatever is sent next would wait for
/// the server's delayed acknowledgement, 40 ms, since the client does not set `TCP_NODELAY`.
fn fill_up(customers: &mut Vec<&Customer>) {
    if let Some(last) = customers.last().copied() {
        customers.resize(customers.len().next_power_of_two(), last);
    }
}

impl From<sqlx::Error> for SaveError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if is_about_the_data(database.code(), database.message()) => {
                Self::Rejected(database.message().to_owned())
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// SQLSTATE class 22 is a data exception, 23 a broken constraint, 45000 a trigger's refusal. MySQL has its
/// CHECK constraints (error 3819) under the general HY000.
fn is_about_the_data(state: Option<Cow<'_, str>>, message: &str) -> bool {
    let state = state.unwrap_or_default();
    state.starts_with("22")
        || state.starts_with("23")
        || state == "45000"
        || message.starts_with("Check constraint")
}
