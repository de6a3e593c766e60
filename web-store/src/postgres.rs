//! Access to Postgres, with a deadline for every step.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

/// The reason why Postgres did not do a step. Each is temporary, so the step can be retried.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PostgresError {
    /// The step failed. Shared, because all registrations of a batch get the same error.
    #[error("Postgres is unavailable: {0}")]
    Failed(Arc<sqlx::Error>),
    /// No reply arrived before the deadline. A write may still take effect, completely or not at all.
    #[error("Postgres did not reply in time")]
    NoReply,
    /// Some migrations have not been applied yet.
    #[error("the schema in Postgres is not up to date")]
    SchemaOutdated,
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// Connects within `limit`.
///
/// # Errors
/// Returns [`PostgresError`] if Postgres is unavailable or does not reply within `limit`.
pub(crate) async fn connect(
    database: &PgConnectOptions,
    limit: Duration,
) -> Result<PgConnection, PostgresError> {
    with_deadline(limit, PgConnection::connect_with(database)).await
}

/// Runs one step and waits at most `limit` for its result.
///
/// # Errors
/// Returns [`PostgresError`] if the step fails or takes longer than `limit`.
pub(crate) async fn with_deadline<T>(
    limit: Duration,
    step: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, PostgresError> {
    match timeout(limit, step).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(PostgresError::NoReply),
    }
}
