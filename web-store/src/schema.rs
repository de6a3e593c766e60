//! The database schema: applied at start or by `web-store migrate`, verified by health checks and by the relay.
//!
//! Migrations only add. Therefore a schema with migrations that this release does not know is sufficient, and a
//! release can be rolled back. Migrations outside of a transaction only build indexes: the service works without
//! them, more slowly.

use std::{sync::LazyLock, time::Duration};

use anyhow::Context;
use messaging::Backoff;
use sqlx::{AssertSqlSafe, Executor, PgConnection, migrate::Migrator};
use tokio::time::{Instant, sleep, timeout};

use crate::postgres::{DatabaseUrl, LOCK_TIMEOUT, PostgresError, UNDEFINED_TABLE, code, with_deadline};

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!();
    migrations.set_ignore_missing(true);
    migrations
});

/// How often a waiting part checks whether the migrations have been applied.
const SCHEMA_POLL_INTERVAL: Duration = Duration::from_millis(250);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The limit for all migrations. An index on millions of rows takes minutes.
const MIGRATION_TIMEOUT: Duration = Duration::from_hours(1);

/// While a migration waits for a lock, later statements on the table wait behind it. This is well below the time
/// that a registration waits for a lock.
const LIMIT_LOCKS: &str = "SET lock_timeout = '500ms'";

/// `CREATE INDEX CONCURRENTLY` waits for transactions, but no other statement waits for it.
const WAIT_FOR_LOCKS: &str = "SET lock_timeout = 0";

/// How long `web-store migrate` retries while other transactions hold locks.
const LOCK_PATIENCE: Duration = Duration::from_mins(10);

/// How long an instance waits for the migrations of another one.
const INSTANCE_PATIENCE: Duration = Duration::from_secs(10);

/// The advisory lock of the instance that applies migrations: `web-stor` in ASCII.
const MIGRATION_LOCK: i64 = 0x7765_622d_7374_6f72;

/// The state of the schema and of the server, as one connection sees it.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Whether the server refuses writes.
    pub(crate) read_only: bool,
    /// The versions of the required migrations that have not been applied.
    pub(crate) missing: Vec<i64>,
}

/// Another instance is applying migrations.
#[derive(Debug, thiserror::Error)]
#[error("another instance is applying migrations")]
struct AnotherInstance;

/// Applies the missing migrations. Instances that start simultaneously wait for each other.
///
/// # Errors
/// Returns an error if the database is unavailable, if an applied migration was different, or if other
/// transactions hold locks. Then a second call continues.
pub(crate) async fn migrate(owner: &DatabaseUrl) -> anyhow::Result<()> {
    let mut connection = with_deadline(CONNECT_TIMEOUT, owner.connect()).await?;
    let migrated = timeout(MIGRATION_TIMEOUT, apply(&mut connection)).await;
    migrated
        .context("the migrations did not end within an hour")?
        .context("cannot bring the schema up to date")
}

/// Applies the missing migrations, and retries while other transactions hold locks.
///
/// # Errors
/// Returns an error as [`migrate`], or if the locks are still held after ten minutes.
pub(crate) async fn migrate_patiently(owner: &DatabaseUrl) -> anyhow::Result<()> {
    let give_up = Instant::now() + LOCK_PATIENCE;
    let mut backoff = Backoff::default();
    loop {
        match migrate(owner).await {
            Err(error) if is_locked(&error) && Instant::now() < give_up => {
                eprintln!("{error:#}; trying again");
                sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn apply(connection: &mut PgConnection) -> anyhow::Result<()> {
    // Without the notices that objects exist already.
    connection.execute("SET statement_timeout = 0; SET client_min_messages = warning").await?;
    connection.execute(LIMIT_LOCKS).await?;
    lock(connection).await?;
    drop_unfinished_indexes(connection).await?;
    for migration in MIGRATIONS.iter() {
        connection.execute(if migration.no_tx { WAIT_FOR_LOCKS } else { LIMIT_LOCKS }).await?;
        MIGRATIONS.run_to(migration.version, &mut *connection).await?;
    }
    Ok(())
}

/// Waits until no other instance applies migrations. The lock ends with the connection.
///
/// It polls, because `CREATE INDEX CONCURRENTLY` waits for every transaction, also for one that waits for a lock.
async fn lock(connection: &mut PgConnection) -> anyhow::Result<()> {
    let give_up = Instant::now() + INSTANCE_PATIENCE;
    loop {
        let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(MIGRATION_LOCK);
        if locked.fetch_one(&mut *connection).await? {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(AnotherInstance.into());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Drops the indexes that a killed migration left unfinished, so that the migration can build them again.
async fn drop_unfinished_indexes(connection: &mut PgConnection) -> anyhow::Result<()> {
    let unfinished =
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace";
    let unfinished: Vec<String> = sqlx::query_scalar(unfinished).fetch_all(&mut *connection).await?;
    for index in unfinished {
        connection.execute(AssertSqlSafe(format!("DROP INDEX IF EXISTS {index}"))).await?;
    }
    Ok(())
}

/// Waits until the schema is sufficient, regardless of which process applies the migrations. `waiting` appears in the
/// log.
///
/// # Errors
/// Returns [`PostgresError`] if the database is unavailable.
pub(crate) async fn wait_until_sufficient(
    connection: &mut PgConnection,
    limit: Duration,
    waiting: &str,
) -> Result<(), PostgresError> {
    let mut logged = false;
    loop {
        let missing = with_deadline(limit, inspect(connection)).await?.missing;
        if missing.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut logged, true) {
            tracing::info!(?missing, "{waiting} waits for migrations");
        }
        sleep(SCHEMA_POLL_INTERVAL).await;
    }
}

/// Returns which migrations are missing, and whether the server accepts writes.
///
/// # Errors
/// Returns an error if the query fails.
pub(crate) async fn inspect(connection: &mut PgConnection) -> sqlx::Result<Schema> {
    // Not a checked query, because the offline data does not contain sqlx's own table.
    let select = "SELECT current_setting('transaction_read_only')::boolean,
        coalesce(array_agg(version) FILTER (WHERE success), '{}') FROM _sqlx_migrations";
    let (read_only, applied): (bool, Vec<i64>) = match sqlx::query_as(select).fetch_one(connection).await {
        Err(error) if code(&error).as_deref() == Some(UNDEFINED_TABLE) => (false, Vec::new()),
        state => state?,
    };
    Ok(Schema { read_only, missing: required().filter(|version| !applied.contains(version)).collect() })
}

/// Returns the versions of the migrations without which the service does not work.
fn required() -> impl Iterator<Item = i64> {
    MIGRATIONS.iter().filter(|migration| !migration.no_tx).map(|migration| migration.version)
}

/// Returns whether another transaction or instance holds a lock.
fn is_locked(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| match cause.downcast_ref::<sqlx::Error>() {
        Some(error) => code(error).as_deref() == Some(LOCK_TIMEOUT),
        None => cause.is::<AnotherInstance>(),
    })
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn migration_outside_a_transaction_only_builds_an_index_and_can_be_repeated() {
        for migration in MIGRATIONS.iter().filter(|migration| migration.no_tx) {
            let sql = migration.sql.as_str();
            let statements = sql.lines().filter(|line| !line.starts_with("--")).collect::<String>();
            assert!(statements.starts_with("CREATE INDEX CONCURRENTLY IF NOT EXISTS "), "{sql}");
            assert_eq!(statements.matches(';').count(), 1, "{sql}");
        }
    }

    #[test]
    fn migration_only_adds() {
        for migration in MIGRATIONS.iter() {
            let sql = migration.sql.as_str().to_uppercase();
            for word in ["DROP ", "RENAME ", "TRUNCATE ", "DELETE FROM", " TYPE "] {
                assert!(!sql.contains(word), "{word} in migration {}", migration.version);
            }
        }
    }
}
