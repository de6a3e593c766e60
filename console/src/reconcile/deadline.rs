//! Awaits a database, but not for ever.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

/// How long a database may take for one page.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a database answers, with its name in the error if it does not.
pub(super) async fn with_deadline<T>(
    database: &'static str,
    step: impl Future<Output = sqlx::Result<T>>,
) -> Result<T> {
    timeout(DEADLINE, step)
        .await
        .with_context(|| format!("{database} did not answer in time"))?
        .context(database)
}
