//! The database schema: applied at start or by `marketing migrate`, verified by health checks.

use std::{sync::LazyLock, time::Duration};

use access::is_read_only;
use anyhow::{Context, bail, ensure};
use sqlx::{
    AssertSqlSafe, Executor, MySqlConnection,
    migrate::{Migrate, MigrateError, Migrator},
};
use tokio::time::{Instant, sleep};

use crate::mysql::{CONNECT_TIMEOUT, DatabaseUrl, close, connect, is_lock_timeout, with_deadline};

/// The migrations of this release. A newer release may have applied more: migrations only add, so this release
/// runs with them.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!();
    // The caller holds the lock, because the repair needs it too.
    migrations.set_ignore_missing(true).set_locking(false);
    migrations
});

/// The table of sqlx with one row per migration.
const TABLE: &str = "_sqlx_migrations";

/// The time for which a health check waits for one statement.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// The time for which a migration waits for the table. Meanwhile readers and writers queue behind it.
const SET_LOCK_TIMEOUT: &str = "SET lock_wait_timeout = 2";

/// Waits up to 30 s for the lock of this database's migrations, and returns 1 if it was taken.
///
/// The name of a lock has at most 64 characters. MySQL has no `MD5` since 9.6.
const TAKE_LOCK: &str = "SELECT CAST(COALESCE(
    GET_LOCK(CONCAT('migrations-', LEFT(SHA2(DATABASE(), 256), 40)), 30), 0) AS SIGNED)";

/// The attempts of a migration that waits for the table, and the pause between them.
const LOCK_ATTEMPTS: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// The columns and indexes that a migration adds to the table `customers`.
///
/// Each migration is one statement, which takes effect as a whole or not at all. So these objects show whether
/// a killed migration took effect.
struct Effect {
    version: i64,
    columns: &'static [&'static str],
    indexes: &'static [&'static str],
}

const EFFECTS: &[Effect] = &[
    Effect {
        version: 1,
        columns: &[
            "customer_id",
            "full_name",
            "email_address",
            "email_opt_in",
            "source",
            "customer_since",
            "received_at",
        ],
        indexes: &["PRIMARY"],
    },
    Effect { version: 2, columns: &["version", "changed_at"], indexes: &[] },
    Effect {
        version: 3,
        columns: &["last_word", "search_segment"],
        indexes: &["by_arrival", "by_name", "by_last_word", "by_email"],
    },
];

/// Applies the missing migrations, and completes one that was killed. Instances that start simultaneously wait
/// for each other.
///
/// # Errors
/// Returns an error if MySQL is unavailable, or if another session keeps the table locked.
pub async fn migrate(owner: &DatabaseUrl) -> anyhow::Result<()> {
    for _ in 1..LOCK_ATTEMPTS {
        match migrate_once(owner).await {
            Err(error) if is_locked(&error) => sleep(LOCK_PAUSE).await,
            result => return result,
        }
    }
    migrate_once(owner).await
}

async fn migrate_once(owner: &DatabaseUrl) -> anyhow::Result<()> {
    let mut connection = with_deadline(Instant::now() + CONNECT_TIMEOUT, owner.connect()).await?;
    connection.execute(SET_LOCK_TIMEOUT).await?;
    take_lock(&mut connection).await?;
    apply(&mut connection).await.context("cannot bring the schema up to date")?;
    // The locks end with the connection.
    Ok(close(connection).await?)
}

/// Waits until no other instance applies migrations.
///
/// sqlx's own lock waits without limit by a negative time, which MariaDB refuses with NULL. Earlier releases
/// take only that lock, which works on MySQL.
async fn take_lock(connection: &mut MySqlConnection) -> anyhow::Result<()> {
    connection.lock().await?;
    let taken: i64 = sqlx::query_scalar(TAKE_LOCK).fetch_one(connection).await?;
    ensure!(taken == 1, "another instance applies migrations");
    Ok(())
}

async fn apply(connection: &mut MySqlConnection) -> anyhow::Result<()> {
    connection.ensure_migrations_table(TABLE).await?;
    for version in dirty_versions(connection).await? {
        match EFFECTS.iter().find(|effect| effect.version == version) {
            Some(effect) => repair(connection, effect).await?,
            // A newer release completes its own migrations.
            None if is_complete(applied(connection).await?) => return Ok(()),
            None => {}
        }
    }
    Ok(MIGRATIONS.run_direct(None, connection, false).await?)
}

fn is_locked(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<MigrateError>() {
        Some(MigrateError::ExecuteMigration(error, _) | MigrateError::Execute(error)) => {
            is_lock_timeout(error)
        }
        _ => false,
    }
}

/// Returns the migrations that began and did not report their end.
async fn dirty_versions(connection: &mut MySqlConnection) -> sqlx::Result<Vec<i64>> {
    let select = "SELECT version FROM _sqlx_migrations WHERE NOT success ORDER BY version";
    sqlx::query_scalar(select).fetch_all(connection).await
}

/// Marks a killed migration as applied if its statement took effect, or else removes its mark.
///
/// sqlx marks a migration before its statement, and the statement commits that mark.
async fn repair(connection: &mut MySqlConnection, effect: &Effect) -> anyhow::Result<()> {
    let version = effect.version;
    let expected = effect.columns.len() + effect.indexes.len();
    let found = existing(connection, effect).await?;
    let mark = if found == expected {
        "UPDATE _sqlx_migrations SET success = TRUE WHERE version = ?"
    } else if found == 0 {
        "DELETE FROM _sqlx_migrations WHERE version = ?"
    } else {
        bail!(
            "migration {version} is half applied: the table `customers` has {found} of {expected} columns and \
             indexes; add the missing ones, or drop the others"
        );
    };
    sqlx::query(mark).bind(version).execute(connection).await?;
    tracing::warn!(version, took_effect = found > 0, "completing a migration that was killed");
    Ok(())
}

/// Returns the number of the columns and indexes of a migration that exist.
async fn existing(connection: &mut MySqlConnection, effect: &Effect) -> sqlx::Result<usize> {
    // The cast because some servers report these columns as binary.
    let columns = "SELECT CAST(column_name AS CHAR) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'customers'";
    let indexes = "SELECT DISTINCT CAST(index_name AS CHAR) FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'customers'";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(&mut *connection).await?;
    let indexes: Vec<String> = sqlx::query_scalar(indexes).fetch_all(connection).await?;
    let count = |expected: &[&str], found: &[String]| {
        expected.iter().filter(|name| found.iter().any(|other| other == *name)).count()
    };
    Ok(count(effect.columns, &columns) + count(effect.indexes, &indexes))
}

/// Verifies over a new connection that MySQL responds, accepts writes, and has the schema of this program.
///
/// # Errors
/// Returns an error if MySQL is unavailable or read-only, or if a migration is missing.
pub(crate) async fn check(database: &DatabaseUrl) -> anyhow::Result<()> {
    let mut connection = connect(database, CHECK_LIMIT).await?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let applied = with_deadline(deadline, applied(&mut connection)).await?;
    ensure!(is_complete(applied), "the schema in MySQL is not up to date");
    let read_only = with_deadline(deadline, is_read_only(&mut connection)).await?;
    close(connection).await?;
    ensure!(!read_only, "MySQL is read-only");
    Ok(())
}

/// Returns the number of this release's migrations that are applied.
async fn applied(connection: &mut MySqlConnection) -> sqlx::Result<i64> {
    let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version.to_string()).collect();
    let count = format!("SELECT COUNT(*) FROM {TABLE} WHERE success AND version IN ({})", versions.join(","));
    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(connection).await
}

fn is_complete(applied: i64) -> bool {
    usize::try_from(applied).is_ok_and(|applied| applied == MIGRATIONS.iter().count())
}

#[cfg(test)]
mod tests {
    use super::{EFFECTS, MIGRATIONS};

    #[test]
    fn every_migration_is_one_statement_with_known_effect() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let known: Vec<i64> = EFFECTS.iter().map(|effect| effect.version).collect();
        assert_eq!(versions, known, "EFFECTS has an entry for each migration");
        for (migration, effect) in MIGRATIONS.iter().zip(EFFECTS) {
            let lines = migration.sql.as_str().lines().map(str::trim).filter(|line| !line.starts_with("--"));
            let text: Vec<&str> = lines.collect();
            let text = text.join("\n");
            assert_eq!(text.matches(';').count(), 1, "{}", migration.version);
            assert!(text.trim_end().ends_with(';'), "{}", migration.version);
            for name in effect.columns.iter().chain(effect.indexes) {
                assert!(text.contains(&name.replace("PRIMARY", "PRIMARY KEY")), "{name}");
            }
        }
    }
}
