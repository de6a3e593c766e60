//! The database schema: applied at start or by `marketing migrate`, verified by health checks.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{Connection, migrate::Migrator, mysql::MySqlConnectOptions};
use tokio::time::Instant;

use crate::mysql::{connect, with_deadline};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Time for each step except the migrations themselves, which may rewrite a large table.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Applies the missing migrations. Instances that start simultaneously wait for each other.
///
/// # Errors
/// Returns an error if MySQL is unavailable or its schema is newer than this program.
pub async fn migrate(owner: &MySqlConnectOptions) -> anyhow::Result<()> {
    let mut connection = connect(owner, STEP_TIMEOUT).await?;
    MIGRATIONS.run(&mut connection).await.context("cannot bring the schema up to date")
}

/// Verifies over a new connection that MySQL responds and has the schema of this program.
///
/// # Errors
/// Returns an error if MySQL is unavailable or a migration is missing.
pub(crate) async fn check(database: &MySqlConnectOptions) -> anyhow::Result<()> {
    let mut connection = connect(database, STEP_TIMEOUT).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations WHERE success");
    let applied: i64 = with_deadline(Instant::now() + STEP_TIMEOUT, count.fetch_one(&mut connection)).await?;
    with_deadline(Instant::now() + STEP_TIMEOUT, connection.close()).await?;
    let complete = usize::try_from(applied).is_ok_and(|applied| applied >= MIGRATIONS.iter().count());
    ensure!(complete, "the schema in MySQL is not up to date");
    Ok(())
}
