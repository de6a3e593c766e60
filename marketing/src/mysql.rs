//! Connections, deadlines and errors of MySQL and MariaDB.

use std::time::Duration;

use access::{MysqlUrl, NoUsableHost, Secret, tls_failure};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlDatabaseError};
use tokio::time::{Instant, timeout_at};

/// The URL of the database, which can be in a file and can have several hosts. sqlx reads the files that it names for
/// each connection.
pub type DatabaseUrl = Secret<MysqlUrl>;

/// Time for a connection and its settings.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The errors that concern the values of one row. Every other error means that MySQL is unavailable.
///
/// The SQLSTATE does not classify them: 1366 has HY000 on MySQL and 22007 on MariaDB.
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference>
const DATA_ERRORS: [(u16, &str); 36] = [
    (1022, "ER_DUP_KEY"),
    (1048, "ER_BAD_NULL_ERROR"),
    (1062, "ER_DUP_ENTRY"),
    (1169, "ER_DUP_UNIQUE"),
    (1216, "ER_NO_REFERENCED_ROW"),
    (1264, "ER_WARN_DATA_OUT_OF_RANGE"),
    (1265, "WARN_DATA_TRUNCATED"),
    (1292, "ER_TRUNCATED_WRONG_VALUE"),
    (1300, "ER_INVALID_CHARACTER_STRING"),
    (1365, "ER_DIVISION_BY_ZERO"),
    (1366, "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD"),
    (1367, "ER_ILLEGAL_VALUE_FOR_TYPE"),
    (1369, "ER_VIEW_CHECK_FAILED"),
    (1406, "ER_DATA_TOO_LONG"),
    (1411, "ER_WRONG_VALUE_FOR_TYPE"),
    (1441, "ER_DATETIME_FUNCTION_OVERFLOW"),
    (1452, "ER_NO_REFERENCED_ROW_2"),
    (1525, "ER_WRONG_VALUE"),
    (1526, "ER_NO_PARTITION_FOR_GIVEN_VALUE"),
    (1557, "ER_FOREIGN_DUPLICATE_KEY"),
    (1586, "ER_DUP_ENTRY_WITH_KEY_NAME"),
    (1591, "ER_NO_PARTITION_FOR_GIVEN_VALUE_SILENT"),
    (1642, "ER_SIGNAL_WARN"),
    (1643, "ER_SIGNAL_NOT_FOUND"),
    (1644, "ER_SIGNAL_EXCEPTION"),
    (1690, "ER_DATA_OUT_OF_RANGE"),
    (1748, "ER_ROW_DOES_NOT_MATCH_GIVEN_PARTITION_SET"),
    (1761, "ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO"),
    (1762, "ER_FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO"),
    (1859, "ER_DUP_UNKNOWN_IN_INDEX"),
    (3140, "ER_INVALID_JSON_TEXT"),
    (3156, "ER_INVALID_JSON_VALUE_FOR_CAST"),
    (3819, "ER_CHECK_CONSTRAINT_VIOLATED (MySQL)"),
    (3854, "ER_CANNOT_CONVERT_STRING (MySQL)"),
    (3988, "ER_IMPOSSIBLE_STRING_CONVERSION (MySQL)"),
    (4025, "ER_CONSTRAINT_FAILED (MariaDB)"),
];

/// The state of an error that a trigger raises. The trigger can choose any error number.
const USER_DEFINED_STATE: &str = "45000";

/// The errors that report a duplicate of another row.
const DUPLICATES: [u16; 7] = [1022, 1062, 1169, 1557, 1586, 1761, 1762];

/// MySQL is unavailable or too slow. Retrying can succeed.
///
/// The texts contain no names of hosts and users, because health checks show them.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// The connection or a statement failed.
    #[error("MySQL is unavailable: {}", describe(.0))]
    Failed(sqlx::Error),
    /// MySQL did not reply before the deadline. A statement may still take effect.
    #[error("MySQL did not reply in time")]
    NoReply,
    /// A constraint or a trigger rejects every customer, including customers that it accepted before.
    #[error("MySQL rejects every customer: {0}")]
    RejectsEveryCustomer(String),
}

impl From<sqlx::Error> for MysqlError {
    fn from(error: sqlx::Error) -> Self {
        tracing::debug!("MySQL: {error}");
        Self::Failed(error)
    }
}

/// Returns whether MySQL rejects the values of a row, so that retrying cannot succeed unless the rules of the
/// database change.
pub(crate) fn is_data_error(error: &sqlx::Error) -> bool {
    let Some(error) = server_error(error) else { return false };
    error.code() == Some(USER_DEFINED_STATE)
        || DATA_ERRORS.iter().any(|(number, _)| *number == error.number())
}

/// Returns whether MySQL rejects a row only because another row has the same values.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| DUPLICATES.contains(&error.number()))
}

/// Returns whether a lock was not released in time.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1205)
}

fn server_error(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// Returns the cause of an error without names of hosts, users and databases, and without values of rows.
/// The server's own text contains them.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    if let Some(failure) = tls_failure(error) {
        return failure.to_string();
    }
    if let Some(hosts) = NoUsableHost::of(error) {
        return hosts.describe(describe);
    }
    match (error, server_error(error)) {
        (_, Some(error)) => {
            let number = error.number();
            match meaning(number) {
                Some(meaning) => format!("{meaning} (error {number})"),
                None => format!("error {number} ({})", error.code().unwrap_or("no state")),
            }
        }
        (sqlx::Error::Io(error), _) => error.kind().to_string(),
        (sqlx::Error::Tls(error), _) => format!("TLS failed: {error}"),
        (sqlx::Error::Configuration(error), _) => error.to_string(),
        _ => "unexpected reply".to_owned(),
    }
}

/// Returns the meaning of frequent errors.
fn meaning(number: u16) -> Option<&'static str> {
    Some(match number {
        1021 | 1114 => "no space left",
        1040 | 1203 | 1226 => "too many connections",
        1044 | 1142 | 1143 | 1227 | 1370 => "a permission is missing",
        1045 | 1698 => "access denied",
        1049 => "the database does not exist",
        1053 | 1077 | 1927 | 3169 => "the server shuts down or closed the session",
        1054 => "a column is missing",
        1129 | 1130 => "the server refuses this host",
        1146 => "a table is missing",
        1205 => "a lock was not released in time",
        1213 => "deadlock",
        1290 | 1792 | 1836 => "the server is read-only",
        1317 | 1969 | 3024 => "the statement took too long",
        _ => return None,
    })
}

/// Runs one step and waits for its result until the deadline.
///
/// # Errors
/// Returns [`MysqlError`] if the step fails or misses the deadline.
pub(crate) async fn with_deadline<T, E: Into<MysqlError>>(
    deadline: Instant,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, MysqlError> {
    match timeout_at(deadline, step).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(MysqlError::NoReply),
    }
}

/// Connects within [`CONNECT_TIMEOUT`]. The server limits each statement to `statement_limit`.
///
/// # Errors
/// Returns [`MysqlError`] if MySQL is unavailable or does not reply in time.
pub(crate) async fn connect(
    database: &DatabaseUrl,
    statement_limit: Duration,
) -> Result<MySqlConnection, MysqlError> {
    let connecting = async {
        let mut connection = database.connect().await?;
        limit_statements(&mut connection, statement_limit).await?;
        Ok::<_, sqlx::Error>(connection)
    };
    with_deadline(Instant::now() + CONNECT_TIMEOUT, connecting).await
}

/// Limits the time for which a statement of this session runs or waits for a lock.
///
/// The client's own deadline does not end a statement. Without a limit on the server, each retry would leave
/// a thread of the server behind. Each statement commits by itself; a server may have another default.
pub(crate) async fn limit_statements(connection: &mut MySqlConnection, limit: Duration) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(session_limits(limit))).await?;
    Ok(())
}

/// Returns the statement for [`limit_statements`].
///
/// The names of one limit differ. MySQL runs the comments that begin with `/*!`, MariaDB ignores them for the
/// versions 50700 to 99999, and only MariaDB runs the comments that begin with `/*M!`.
/// <https://mariadb.com/docs/server/reference/sql-statements/comment-syntax>
fn session_limits(limit: Duration) -> String {
    let seconds = limit.as_secs().max(1);
    format!(
        "SET autocommit = 1, lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds} \
         /*!80000 , max_execution_time = {seconds}000 */ /*M! , max_statement_time = {seconds} */"
    )
}

/// Closes a connection without waiting longer than the connection may take to open.
pub(crate) async fn close(connection: MySqlConnection) -> Result<(), MysqlError> {
    with_deadline(Instant::now() + CONNECT_TIMEOUT, connection.close()).await
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::{DATA_ERRORS, DUPLICATES, MysqlError, meaning, session_limits};

    #[test]
    fn data_errors_are_sorted_and_concern_only_values() {
        let numbers: Vec<u16> = DATA_ERRORS.iter().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        for number in [1048, 1062, 1264, 1292, 1366, 1406, 1644, 3819, 4025] {
            assert!(numbers.contains(&number), "{number}");
        }
        // Full, locked, read-only, without permission, without the table or column, shutting down, too slow.
        for number in
            [1021, 1040, 1045, 1053, 1054, 1114, 1142, 1146, 1205, 1213, 1290, 1364, 1836, 1969, 3024]
        {
            assert!(!numbers.contains(&number), "{number}");
        }
        assert!(DUPLICATES.iter().all(|number| numbers.contains(number)));
        assert!(numbers.iter().all(|number| meaning(*number).is_none()), "either data or unavailable");
    }

    #[test]
    fn error_text_contains_no_host() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connect to db.internal:3306");
        let error = MysqlError::Failed(sqlx::Error::Io(refused));
        assert_eq!(error.to_string(), "MySQL is unavailable: connection refused");
    }

    #[test]
    fn error_text_names_the_part_of_the_url_to_check() {
        let texts = [
            (
                sqlx::Error::Tls("server does not support TLS".into()),
                "TLS failed: server does not support TLS",
            ),
            (sqlx::Error::Configuration("the file /a is wrong".into()), "the file /a is wrong"),
            (sqlx::Error::Io(io::ErrorKind::NotFound.into()), "a file in the URL cannot be read"),
        ];
        for (error, text) in texts {
            let error = MysqlError::Failed(error).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn session_limits_are_at_least_one_second() {
        let limits = session_limits(Duration::from_millis(1));
        assert!(limits.contains("max_execution_time = 1000 ") && limits.contains("max_statement_time = 1 "));
    }
}
