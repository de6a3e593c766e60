//! A replica of a private MySQL or MariaDB server, by its binary log.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};
use tokio::time::{Instant, sleep};

use super::{DEADLINE, Mysql, POLL_INTERVAL};
use crate::connection_urls::PASSWORD;

/// Seconds in which a replica applies the changes that it has received.
const APPLY_SECONDS: u64 = 60;

/// The statements of one product. They mean the same.
struct Dialect {
    forget_log: &'static str,
    /// Follows a server, with `{port}` and `{password}` as placeholders.
    follow: &'static str,
    /// Makes commits of the primary wait for a replica, without a limit.
    wait_for_replica: &'static [&'static str],
    /// Makes the replica acknowledge changes.
    acknowledge: &'static [&'static str],
    /// The status with the number of replicas that acknowledge.
    acknowledging: &'static str,
    /// The columns of `SHOW REPLICA STATUS` with the state of the receiver, and the position of the received changes.
    receiver: &'static str,
    received: &'static str,
    /// Waits until the position is applied, and returns 0.
    wait_applied: &'static str,
}

const MARIADB: Dialect = Dialect {
    forget_log: "RESET MASTER",
    follow: "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root',
        MASTER_PASSWORD = '{password}', MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos",
    wait_for_replica: &[
        "SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC'",
        "SET GLOBAL rpl_semi_sync_master_timeout = 3600000",
        "SET GLOBAL rpl_semi_sync_master_enabled = 1",
    ],
    acknowledge: &["SET GLOBAL rpl_semi_sync_slave_enabled = 1"],
    acknowledging: "Rpl_semi_sync_master_clients",
    receiver: "Slave_IO_Running",
    received: "Gtid_IO_Pos",
    wait_applied: "SELECT MASTER_GTID_WAIT(?, ?)",
};

const MYSQL: Dialect = Dialect {
    forget_log: "RESET BINARY LOGS AND GTIDS",
    follow: "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root',
        SOURCE_PASSWORD = '{password}', SOURCE_CONNECT_RETRY = 1, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
    wait_for_replica: &[
        "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
        "SET GLOBAL rpl_semi_sync_source_wait_point = 'AFTER_SYNC'",
        "SET GLOBAL rpl_semi_sync_source_timeout = 3600000",
        "SET GLOBAL rpl_semi_sync_source_enabled = 1",
    ],
    acknowledge: &[
        "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
        "SET GLOBAL rpl_semi_sync_replica_enabled = 1",
    ],
    acknowledging: "Rpl_semi_sync_source_clients",
    receiver: "Replica_IO_Running",
    received: "Retrieved_Gtid_Set",
    wait_applied: "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
};

impl Mysql {
    /// Makes the next start of a server in this directory write a binary log, which replicas need. Servers that replicate
    /// have different ids.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be written.
    pub fn enable_replication(directory: &Path, server_id: u32) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        // MariaDB has no settings for GTIDs, and ignores these.
        let settings = format!(
            "[mysqld]\nserver-id={server_id}\nlog-bin=binlog\nbinlog-format=ROW\n\
             loose-gtid-mode=ON\nloose-enforce-gtid-consistency=ON\n"
        );
        Ok(fs::write(directory.join("my.cnf"), settings)?)
    }

    /// Starts a read-only replica of this server, which has been set up and not used yet. If it is synchronous, each
    /// commit of this server waits until the replica has stored it.
    ///
    /// # Errors
    /// Returns an error if the replica does not start, or if it does not receive changes.
    pub async fn start_replica(
        &self,
        directory: &Path,
        port: u16,
        is_synchronous: bool,
    ) -> anyhow::Result<Self> {
        Self::enable_replication(directory, 2)?;
        // Both servers have the same content after their set-up.
        let replica = Self::start(directory, port).await?;
        let (mut primary, mut standby) = (self.superuser().await?, replica.superuser().await?);
        let dialect = dialect(&mut primary).await?;
        primary.execute(dialect.forget_log).await?;
        standby.execute(dialect.forget_log).await?;
        if is_synchronous {
            execute_all(&mut standby, dialect.acknowledge).await?;
        }
        let follow = dialect.follow.replace("{port}", &self.port.to_string()).replace("{password}", PASSWORD);
        standby.execute(AssertSqlSafe(follow)).await?;
        execute_all(&mut standby, &["START REPLICA", "SET GLOBAL read_only = 1"]).await?;
        let receives = async |standby: &mut _| Ok(replica_status(standby, dialect.receiver).await? == "Yes");
        wait_until(&mut standby, "the replica receives changes", receives).await?;
        if is_synchronous {
            execute_all(&mut primary, dialect.wait_for_replica).await?;
            let acknowledges =
                async |primary: &mut _| Ok(server_status(primary, dialect.acknowledging).await? == "1");
            wait_until(&mut primary, "the replica acknowledges changes", acknowledges).await?;
        }
        Ok(replica)
    }

    /// Makes this replica receive no further changes. It applies those that it has received.
    ///
    /// # Errors
    /// Returns an error if the replica is unavailable.
    pub async fn stop_receiving(&self) -> anyhow::Result<()> {
        self.superuser().await?.execute("STOP REPLICA IO_THREAD").await?;
        Ok(())
    }

    /// Promotes this replica to a primary, with all changes that it has received.
    ///
    /// # Errors
    /// Returns an error if the replica is unavailable, or if it does not apply the changes in time.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let mut superuser = self.superuser().await?;
        superuser.execute("STOP REPLICA IO_THREAD").await?;
        let dialect = dialect(&mut superuser).await?;
        let received = replica_status(&mut superuser, dialect.received).await?;
        let wait = sqlx::query_scalar(dialect.wait_applied).bind(received).bind(APPLY_SECONDS);
        let outcome: i64 = wait.fetch_one(&mut superuser).await?;
        ensure!(outcome == 0, "the replica has not applied its changes within {APPLY_SECONDS} s");
        execute_all(&mut superuser, &["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = 0"]).await
    }

    async fn superuser(&self) -> anyhow::Result<MySqlConnection> {
        let url = format!("mysql://root:{PASSWORD}@127.0.0.1:{}", self.port);
        Ok(MySqlConnection::connect(&url).await?)
    }
}

async fn dialect(connection: &mut MySqlConnection) -> anyhow::Result<Dialect> {
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(connection).await?;
    Ok(if version.contains("MariaDB") { MARIADB } else { MYSQL })
}

async fn execute_all(connection: &mut MySqlConnection, statements: &[&'static str]) -> anyhow::Result<()> {
    for statement in statements {
        connection.execute(*statement).await.with_context(|| (*statement).to_owned())?;
    }
    Ok(())
}

/// Returns a column of the state of the replication.
async fn replica_status(replica: &mut MySqlConnection, column: &str) -> anyhow::Result<String> {
    Ok(sqlx::raw_sql("SHOW REPLICA STATUS").fetch_one(replica).await?.try_get(column)?)
}

/// Returns a status variable.
async fn server_status(server: &mut MySqlConnection, name: &str) -> anyhow::Result<String> {
    let show = AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{name}'"));
    Ok(sqlx::raw_sql(show).fetch_one(server).await?.try_get(1)?)
}

async fn wait_until(
    connection: &mut MySqlConnection,
    condition: &str,
    is_true: impl AsyncFn(&mut MySqlConnection) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + DEADLINE;
    while !is_true(connection).await? {
        ensure!(Instant::now() < give_up, "MySQL: not within {DEADLINE:?}: {condition}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
