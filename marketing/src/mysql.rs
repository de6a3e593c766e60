//! Deadlines and errors of MySQL.

use std::time::Duration;

use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::time::{Instant, timeout_at};

/// MySQL is unavailable or too slow. Retrying can succeed.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// The connection or a statement failed.
    #[error("MySQL is unavailable: {0}")]
    Failed(sqlx::Error),
    /// MySQL did not reply before the deadline. A statement may still take effect.
    #[error("MySQL did not reply in time")]
    NoReply,
}

impl From<sqlx::Error> for MysqlError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs one step and waits for its result until the deadline.
///
/// # Errors
/// Returns [`MysqlError`] if the step fails or misses the deadline.
pub(crate) async fn with_deadline<T>(
    deadline: Instant,
    step: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, MysqlError> {
    match timeout_at(deadline, step).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(MysqlError::NoReply),
    }
}

/// Connects within `limit`.
///
/// # Errors
/// Returns [`MysqlError`] if MySQL is unavailable or does not reply within `limit`.
pub(crate) async fn connect(
    database: &MySqlConnectOptions,
    limit: Duration,
) -> Result<MySqlConnection, MysqlError> {
    with_deadline(Instant::now() + limit, MySqlConnection::connect_with(database)).await
}
