//! States in which a database server is reachable, but does not do its work.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use stack::connection_urls::ConnectionUrls;

/// The limit of connections with which the crate `stack` starts MySQL.
const MYSQL_CONNECTIONS: usize = 300;

/// The smallest limit that MariaDB accepts. A few idle sessions use it up.
const FEW_MYSQL_CONNECTIONS: usize = 10;

/// A service that connects again meanwhile may take a place, so its sessions are ended several times.
const FILL_ATTEMPTS: usize = 20;

/// One of the two database servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Postgres,
    Mysql,
}

/// A state of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// Another session has locked the table of customers for itself.
    LockedTable(Database),
    /// A backup has locked all tables of MySQL for reading.
    ReadLocked,
    /// The server refuses writes, as after a failover.
    ReadOnly(Database),
    /// The server accepts no further connection, and the service has lost its own.
    Full(Database),
}

/// The sessions that hold a state. Dropping them releases locks and connections.
#[derive(Debug, Default)]
pub(crate) struct Held {
    _postgres: Option<PgConnection>,
    _mysql: Vec<MySqlConnection>,
}

impl Database {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Postgres => Self::Mysql,
            Self::Mysql => Self::Postgres,
        }
    }
}

impl DatabaseState {
    pub(crate) const ALL: [Self; 7] = [
        Self::LockedTable(Database::Postgres),
        Self::LockedTable(Database::Mysql),
        Self::ReadLocked,
        Self::ReadOnly(Database::Postgres),
        Self::ReadOnly(Database::Mysql),
        Self::Full(Database::Postgres),
        Self::Full(Database::Mysql),
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::LockedTable(database) => format!("locked table: {}", database.name()),
            Self::ReadLocked => format!("read lock on all tables: {}", Database::Mysql.name()),
            Self::ReadOnly(database) => format!("read-only server: {}", database.name()),
            Self::Full(database) => format!("full server: {}", database.name()),
        }
    }

    /// Brings the server into this state, and returns the sessions that hold it.
    ///
    /// # Errors
    /// Returns an error if the server is unavailable. The state may still apply until [`DatabaseState::lift`].
    pub(crate) async fn impose(self, urls: &ConnectionUrls) -> anyhow::Result<Held> {
        match self {
            Self::LockedTable(Database::Postgres) => {
                let mut owner =
                    PgConnection::connect(&urls.web_store_database_url("web_store_owner")).await?;
                owner.execute("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await?;
                Ok(Held { _postgres: Some(owner), ..Held::default() })
            }
            Self::LockedTable(Database::Mysql) => lock_mysql(urls, "LOCK TABLES customers WRITE").await,
            Self::ReadLocked => lock_mysql(urls, "FLUSH TABLES WITH READ LOCK").await,
            Self::ReadOnly(Database::Postgres) => {
                let mut superuser = postgres_superuser(urls).await?;
                superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on").await?;
                superuser.execute("SELECT pg_reload_conf()").await?;
                Ok(Held::default())
            }
            Self::ReadOnly(Database::Mysql) => {
                mysql_superuser(urls).await?.execute("SET GLOBAL read_only = 1").await?;
                Ok(Held::default())
            }
            Self::Full(Database::Postgres) => fill_postgres(urls).await,
            Self::Full(Database::Mysql) => fill_mysql(urls).await,
        }
    }

    /// Restores the normal state, also after a restart of the server. The sessions that hold the state must be
    /// dropped before.
    ///
    /// # Errors
    /// Returns an error if the server is unavailable.
    pub(crate) async fn lift(self, urls: &ConnectionUrls) -> anyhow::Result<()> {
        match self {
            // The locks have ended with their sessions.
            Self::LockedTable(_) | Self::ReadLocked => {}
            Self::ReadOnly(Database::Postgres) => {
                let mut superuser = postgres_superuser(urls).await?;
                superuser.execute("ALTER SYSTEM RESET default_transaction_read_only").await?;
                superuser.execute("SELECT pg_reload_conf()").await?;
            }
            Self::ReadOnly(Database::Mysql) => {
                mysql_superuser(urls).await?.execute("SET GLOBAL read_only = 0").await?;
            }
            Self::Full(Database::Postgres) => {
                limit_postgres(&mut postgres_superuser(urls).await?, urls, -1).await?;
            }
            Self::Full(Database::Mysql) => {
                limit_mysql(&mut mysql_superuser(urls).await?, MYSQL_CONNECTIONS).await?;
            }
        }
        Ok(())
    }
}

async fn postgres_superuser(urls: &ConnectionUrls) -> anyhow::Result<PgConnection> {
    Ok(PgConnection::connect(&urls.web_store_database_url("postgres")).await?)
}

async fn mysql_superuser(urls: &ConnectionUrls) -> anyhow::Result<MySqlConnection> {
    Ok(MySqlConnection::connect(&urls.marketing_database_url("root")).await?)
}

async fn lock_mysql(urls: &ConnectionUrls, lock: &'static str) -> anyhow::Result<Held> {
    let mut superuser = mysql_superuser(urls).await?;
    superuser.execute(lock).await?;
    Ok(Held { _mysql: vec![superuser], ..Held::default() })
}

/// Lets PostgreSQL refuse all connections to the database, and ends those of the service.
///
/// The limit of one database gives the error of a full server, 53300, at the same moment of a connection. Hundreds
/// of idle backends would take memory and processor time from the system under test. Superusers can still connect.
async fn fill_postgres(urls: &ConnectionUrls) -> anyhow::Result<Held> {
    let mut superuser = postgres_superuser(urls).await?;
    limit_postgres(&mut superuser, urls, 0).await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'web_store' AND datname = current_database()";
    superuser.execute(end).await?;
    Ok(Held::default())
}

async fn limit_postgres(
    superuser: &mut PgConnection,
    urls: &ConnectionUrls,
    connections: i32,
) -> anyhow::Result<()> {
    let limit = format!("ALTER DATABASE {} CONNECTION LIMIT {connections}", urls.web_store_database);
    superuser.execute(AssertSqlSafe(limit)).await?;
    Ok(())
}

/// Lowers the limit of connections, ends those of the service, and uses up the limit by idle sessions.
///
/// The server then reports 1040. It keeps a further connection for a superuser.
async fn fill_mysql(urls: &ConnectionUrls) -> anyhow::Result<Held> {
    let mut superuser = mysql_superuser(urls).await?;
    limit_mysql(&mut superuser, FEW_MYSQL_CONNECTIONS).await?;
    let owner = urls.marketing_database_url("marketing_owner");
    let mut sessions = Vec::new();
    for _ in 0..FILL_ATTEMPTS {
        let of_service =
            "SELECT CAST(ID AS SIGNED) FROM information_schema.PROCESSLIST WHERE USER = 'marketing'";
        let of_service: Vec<i64> = sqlx::query_scalar(of_service).fetch_all(&mut superuser).await?;
        if of_service.is_empty() && !sessions.is_empty() {
            break;
        }
        for id in of_service {
            // A session may have ended meanwhile.
            let _ = superuser.execute(AssertSqlSafe(format!("KILL {id}"))).await;
        }
        while let Ok(session) = MySqlConnection::connect(&owner).await {
            sessions.push(session);
        }
    }
    ensure!(!sessions.is_empty(), "no session could be opened");
    sessions.push(superuser);
    Ok(Held { _mysql: sessions, ..Held::default() })
}

async fn limit_mysql(superuser: &mut MySqlConnection, connections: usize) -> anyhow::Result<()> {
    let limit = format!("SET GLOBAL max_connections = {connections}");
    superuser.execute(AssertSqlSafe(limit)).await?;
    Ok(())
}
