//! Marketing's schema, brought up to date at start, and asked after by health.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{Connection, MySqlConnection, migrate::Migrator, mysql::MySqlConnectOptions};
use tokio::time::timeout;

static MIGRATIONS: Migrator = sqlx::migrate!();

const DEADLINE: Duration = Duration::from_secs(2);

/// Brings the schema up to date. Instances that start at once wait for each other.
///
/// # Errors
/// The database is away, or its schema is newer than this program.
pub async fn migrate(owner: &MySqlConnectOptions) -> anyhow::Result<()> {
    let mut connection = in_time(MySqlConnection::connect_with(owner)).await?;
    MIGRATIONS.run(&mut connection).await.context("cannot bring the schema up to date")
}

/// Whether the database answers and has the whole of its schema, by a connection made for the purpose.
///
/// # Errors
/// It is away, or its schema is on its way.
pub async fn check(database: &MySqlConnectOptions) -> anyhow::Result<()> {
    let mut connection = in_time(MySqlConnection::connect_with(database)).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations WHERE success");
    let done: i64 = in_time(count.fetch_one(&mut connection)).await?;
    in_time(connection.close()).await?;
    let ready = usize::try_from(done).is_ok_and(|done| done >= MIGRATIONS.iter().count());
    ensure!(ready, "the schema in MySQL is not up to date");
    Ok(())
}

async fn in_time<T>(step: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    timeout(DEADLINE, step).await.context("MySQL did not answer in time")?.context("MySQL is away")
}
