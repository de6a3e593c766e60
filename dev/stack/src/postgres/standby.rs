//! A standby of a private PostgreSQL server, by streaming replication.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, ensure};
use rustix::process::geteuid;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};

use super::{DEADLINE, INITIALIZED, POLL_INTERVAL, Postgres, launch, server_command};
use crate::{
    command::{child_command, run_tool},
    connection_urls::PASSWORD,
};

impl Postgres {
    /// Starts a standby of this server in an empty directory, and returns when it receives the changes.
    ///
    /// # Errors
    /// Returns an error if this server cannot be copied, or if the standby does not start.
    pub async fn start_standby(&self, directory: &Path, port: u16) -> anyhow::Result<Self> {
        let data = directory.join("data");
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let (directory, data) = (directory.canonicalize()?, data.canonicalize()?);
        // PostgreSQL refuses a directory that other users can read.
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        if geteuid().is_root() {
            run_tool("chown to postgres", child_command("chown").arg("postgres:").arg(&data)).await?;
        }
        let mut copy = server_command(&data, "pg_basebackup").await?;
        copy.args(["--checkpoint=fast", "--write-recovery-conf", "--dbname"]).arg(self.superuser_url());
        copy.arg("--pgdata").arg(&data).current_dir("/");
        run_tool("copy of PostgreSQL's data", &mut copy).await?;
        fs::write(directory.join(INITIALIZED), "")?;
        let standby = Self { process: launch(&directory, port).await?, directory, port };
        self.wait_until("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'").await?;
        Ok(standby)
    }

    /// Makes each commit of this server wait until a standby has stored it.
    ///
    /// # Errors
    /// Returns an error if no standby receives the changes.
    pub async fn replicate_synchronously(&self) -> anyhow::Result<()> {
        self.change_setting("synchronous_standby_names = '*'").await?;
        self.wait_until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'").await
    }

    /// Makes this standby receive no further changes. It keeps those that it has received.
    ///
    /// # Errors
    /// Returns an error if the standby is unavailable.
    pub async fn stop_receiving(&self) -> anyhow::Result<()> {
        self.change_setting("primary_conninfo = ''").await?;
        self.wait_until("SELECT count(*) = 0 FROM pg_stat_wal_receiver").await
    }

    /// Promotes this standby to a primary, with all changes that it has received.
    ///
    /// # Errors
    /// Returns an error if the standby is unavailable, or if the promotion takes longer than a minute.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let mut superuser = self.superuser().await?;
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut superuser).await?;
        ensure!(promoted, "the standby of PostgreSQL was not promoted within a minute");
        Ok(())
    }

    async fn change_setting(&self, setting: &'static str) -> anyhow::Result<()> {
        let mut superuser = self.superuser().await?;
        superuser.execute(AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"))).await?;
        superuser.execute("SELECT pg_reload_conf()").await?;
        Ok(())
    }

    /// Waits until a query returns true.
    async fn wait_until(&self, condition: &'static str) -> anyhow::Result<()> {
        let mut superuser = self.superuser().await?;
        let give_up = Instant::now() + DEADLINE;
        while !sqlx::query_scalar::<_, bool>(condition).fetch_one(&mut superuser).await? {
            ensure!(Instant::now() < give_up, "PostgreSQL: not within {DEADLINE:?}: {condition}");
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn superuser(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.superuser_url()).await?)
    }

    fn superuser_url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }
}
