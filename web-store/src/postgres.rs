//! Access to Postgres: the settings of each connection, deadlines, and errors.
//!
//! The client's deadline does not end a statement on the server. Therefore each connection also has limits on the
//! server, below the client's deadline. Otherwise each retry under a locked table leaves another backend behind.

mod pool;

use std::{sync::Arc, time::Duration};

use access::{NoUsableHost, PostgresUrl, Secret, TlsFailure, tls_failure};
use messaging::Backoff;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use tokio::time::{sleep, timeout};

pub(crate) use pool::Pool;

/// The URL of the database, which can be in a file and can have several hosts. sqlx reads the files that it names for
/// each connection.
pub(crate) type DatabaseUrl = Secret<PostgresUrl>;

/// Ends the session of a vanished client within a minute, and with it its locks. sqlx has no setting for
/// keep-alive, so the server sends the probes. They also keep idle connections alive in a NAT.
const KEEP_ALIVE: &str = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
                          SET tcp_keepalives_count = 3";

const SHARED_SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a session that reads in the order of an index, regardless of statistics: they are often of an empty
/// table. A plan that sorts reads all rows for each batch.
pub(crate) const USE_INDEXES: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                                      SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off";

/// `lock_not_available`: the limit on waiting for a lock.
pub(crate) const LOCK_TIMEOUT: &str = "55P03";

/// `undefined_table`.
pub(crate) const UNDEFINED_TABLE: &str = "42P01";

/// `duplicate_prepared_statement` and `invalid_sql_statement_name`: the session has statements of another client.
const SHARED_SESSION: [&str; 2] = ["42P05", "26000"];

/// `read_only_sql_transaction`.
const READ_ONLY: &str = "25006";

/// The reason why Postgres did not do a step. Each is temporary, so the step can be retried.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PostgresError {
    /// The step failed. Shared, because all registrations of a batch get the same error.
    #[error("Postgres is unavailable: {}", describe(.0))]
    Failed(Arc<sqlx::Error>),
    /// The connection needs TLS, and TLS failed.
    #[error("Postgres is unavailable: {0}")]
    Tls(TlsFailure),
    /// No reply arrived before the deadline. A write may still take effect, completely or not at all.
    #[error("Postgres did not reply in time")]
    NoReply,
    /// The server is a standby, or its default is to refuse writes.
    #[error("Postgres is read-only; after a failover, the address has to lead to the new primary")]
    ReadOnly,
    /// A connection pooler gives the session to several clients.
    #[error(
        "the connection pooler in front of Postgres shares sessions between clients; set `pool_mode = session`"
    )]
    SharedSession,
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        match code(&error).as_deref() {
            Some(READ_ONLY) => Self::ReadOnly,
            Some(code) if SHARED_SESSION.contains(&code) => Self::SharedSession,
            _ => tls_failure(&error).map_or_else(|| Self::Failed(Arc::new(error)), Self::Tls),
        }
    }
}

/// Connects within `deadline`, and limits each statement on the server to less than that.
///
/// `setup` has more statements for the new session. The limits are set by statements and not by startup
/// parameters, because `PgBouncer` refuses those.
///
/// # Errors
/// Returns an error if Postgres is unavailable. The caller enforces the deadline.
async fn open(database: &DatabaseUrl, deadline: Duration, setup: &str) -> sqlx::Result<PgConnection> {
    let mut connection = database.connect().await?;
    let statement = deadline.as_millis() * 3 / 5;
    let lock = deadline.as_millis() / 2;
    let limits =
        format!("SET statement_timeout = {statement}; SET lock_timeout = {lock}; {KEEP_ALIVE}; {setup}");
    connection.execute(AssertSqlSafe(limits)).await?;
    Ok(connection)
}

/// Connects within `deadline`, as [`open`].
///
/// # Errors
/// Returns [`PostgresError`] if Postgres is unavailable or does not reply within `deadline`.
pub(crate) async fn connect(
    database: &DatabaseUrl,
    deadline: Duration,
    setup: &str,
) -> Result<PgConnection, PostgresError> {
    with_deadline(deadline, open(database, deadline, setup)).await
}

/// Logs an error if two connections share one session of the server, as with `PgBouncer` in transaction mode. Then
/// the limits of one client apply to another, and prepared statements fail with older releases.
pub(crate) async fn report_shared_sessions(database: &DatabaseUrl) {
    // Without prepared statements, which would fail.
    let session = async |connection: &mut PgConnection| -> sqlx::Result<i32> {
        sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
    };
    let shared = async || -> sqlx::Result<bool> {
        let mut first = open(database, SHARED_SESSION_TIMEOUT, "").await?;
        let mut second = open(database, SHARED_SESSION_TIMEOUT, "").await?;
        Ok(session(&mut first).await? == session(&mut second).await?)
    };
    let mut backoff = Backoff::default();
    loop {
        match with_deadline(SHARED_SESSION_TIMEOUT, shared()).await {
            Ok(true) => return tracing::error!("{}", PostgresError::SharedSession),
            Ok(false) => return,
            Err(_) => sleep(backoff.next_delay()).await,
        }
    }
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

/// Returns the text of an error, without the words of sqlx around the list of hosts.
fn describe(error: &sqlx::Error) -> String {
    NoUsableHost::of(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Returns the SQLSTATE of an error from the server.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Returns whether the error is about the data of one statement: classes 22 and 23. After any other error, the
/// connection is closed.
fn is_data_error(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| is_data_code(&code))
}

/// Returns whether a statement for fewer rows may succeed where this one failed.
pub(crate) fn may_depend_on_rows(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| !is_server_code(&code))
}

/// Returns whether the error concerns every connection to this server, so that none is worth keeping.
fn is_server_lost(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(code) => matches!(code.get(..2), Some("08" | "58" | "XX")) || is_role_or_end(&code),
        // A certificate, or a file, that cannot be used prevents new connections only.
        None if tls_failure(error).is_some() || matches!(error, sqlx::Error::Configuration(_)) => false,
        None => !matches!(error, sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }),
    }
}

fn is_data_code(code: &str) -> bool {
    matches!(code.get(..2), Some("22" | "23"))
}

/// Returns whether the code is about the server or the session and not about the statement.
fn is_server_code(code: &str) -> bool {
    // Connection, transaction state, resources, locks and objects in use, operator intervention, system, internal.
    matches!(code.get(..2), Some("08" | "25" | "53" | "55" | "57" | "58" | "XX"))
}

/// Returns whether the server is read-only, or ends its sessions (57P01 to 57P05).
fn is_role_or_end(code: &str) -> bool {
    code == READ_ONLY || code.starts_with("57P")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{is_data_code, is_role_or_end, is_server_code, is_server_lost};

    #[test]
    fn open_connections_survive_a_wrong_file_in_the_url() {
        let io_error = |kind: io::ErrorKind| sqlx::Error::Io(kind.into());
        assert!(is_server_lost(&io_error(io::ErrorKind::ConnectionReset)));
        assert!(!is_server_lost(&io_error(io::ErrorKind::PermissionDenied)));
        assert!(!is_server_lost(&sqlx::Error::Configuration("a file".into())));
    }

    #[test]
    fn only_data_errors_keep_the_connection() {
        for (code, keeps, rows, lost) in [
            ("22001", true, true, false),
            ("23505", true, true, false),
            ("P0001", false, true, false),
            ("42703", false, true, false),
            ("25006", false, false, true),
            ("57014", false, false, false),
            ("55P03", false, false, false),
            ("53100", false, false, false),
            ("57P01", false, false, true),
        ] {
            assert_eq!(is_data_code(code), keeps, "{code}");
            assert_eq!(!is_server_code(code), rows, "{code}");
            assert_eq!(is_role_or_end(code), lost, "{code}");
        }
    }
}
