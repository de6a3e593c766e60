//! The database schema: applied at start or by `web-store migrate`, verified by health checks.

use std::time::Duration;

use anyhow::Context;
use sqlx::{PgConnection, migrate::Migrator, postgres::PgConnectOptions};

use crate::postgres::connect;

static MIGRATIONS: Migrator = sqlx::migrate!();

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Applies the missing migrations. Instances that start simultaneously wait for each other.
///
/// # Errors
/// Returns an error if the database is unavailable or its schema is newer than this program.
pub(crate) async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let mut connection = connect(owner, CONNECT_TIMEOUT).await?;
    MIGRATIONS.run(&mut connection).await.context("cannot bring the schema up to date")
}

/// Returns whether all migrations of this program have been applied.
///
/// # Errors
/// Returns an error if the query fails.
pub(crate) async fn check(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // Not a checked query, because the offline data does not contain sqlx's own table.
    let count = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success");
    let applied: i64 = count.fetch_one(connection).await?;
    Ok(usize::try_from(applied).is_ok_and(|applied| applied >= migration_count()))
}

fn migration_count() -> usize {
    MIGRATIONS.iter().count()
}
