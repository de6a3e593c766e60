//! A private PostgreSQL server with Web Store's database in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};
use sqlx::Connection;
use tokio::time::{Instant, sleep};

use crate::command::{child_command, run_tool};
use crate::connection_urls::PASSWORD;
use crate::leftovers;
use crate::postgres_programs::as_server;
use crate::process::Process;
use crate::process_tree::is_anybody_in;

const DEADLINE: Duration = Duration::from_mins(1);
const RIGHTS: &str = include_str!("../../../deploy/servers/postgres.sh");

/// A running server, or one that was stopped or killed and can be started again.
#[derive(Debug)]
pub struct Postgres {
    /// The postmaster; its children are the backends.
    pub process: Process,
    directory: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts the server whose data is in `directory`; the first time, makes the data and the rights.
    ///
    /// # Errors
    /// If it is not installed or does not become ready.
    pub async fn start(directory: &Path, port: u16) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let initialised = directory.join("initialised");
        if !initialised.exists() {
            initialise(&directory).await?;
        }
        let process = launch(&directory, port).await?;
        let server = Self { process, directory, port };
        if !initialised.exists() {
            server.set_up_rights().await?;
            fs::write(initialised, "")?;
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it: open transactions are rolled back, everything committed is kept.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        // SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
        self.process.stop(Signal::INT, DEADLINE).await?;
        Ok(())
    }

    /// Stops it if it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.process = launch(&self.directory, self.port).await?;
        Ok(())
    }

    async fn set_up_rights(&self) -> Result<()> {
        let mut script = child_command("sh");
        script.args(["-c", RIGHTS]).env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        script.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "10");
        script.env("WEB_STORE_DATABASE_OWNER_PASSWORD", PASSWORD);
        script.env("WEB_STORE_DATABASE_PASSWORD", PASSWORD);
        run_tool("setting up Web Store's database", &mut script).await?;
        Ok(())
    }
}

async fn initialise(directory: &Path) -> Result<()> {
    let data = directory.join("data");
    // An earlier first start may not have got to its end.
    leftovers::remove_directory(&data)?;
    fs::create_dir(&data)?;
    let password = directory.join("superuser-password");
    fs::write(&password, PASSWORD)?;
    if geteuid().is_root() {
        run_tool("chown to postgres", child_command("chown").arg("postgres:").arg(&data)).await?;
    }
    let mut initdb = as_server(&data, "initdb").await?;
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(&data).current_dir("/");
    run_tool("initdb", &mut initdb).await?;
    Ok(())
}

async fn launch(directory: &Path, port: u16) -> Result<Process> {
    let data = directory.join("data");
    // After a kill the backends take a moment to notice, and a new server refuses to share with them.
    let give_up = Instant::now() + DEADLINE;
    while is_anybody_in(&data) {
        if Instant::now() > give_up {
            bail!("another PostgreSQL still runs in {}; stop it first", data.display());
        }
        sleep(Duration::from_millis(20)).await;
    }
    // Nobody is in there. A killed server that its new parent has not yet reaped still has a process
    // id, and for that the file would keep the next one out.
    leftovers::remove_file(&data.join("postmaster.pid"))?;
    let mut server = as_server(&data, "postgres").await?;
    server.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir("/");
    // No Unix socket: its path may not be longer than 107 bytes, and a checkout's may well be.
    for setting in
        ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "timezone=UTC"]
    {
        server.args(["-c", setting]);
    }
    let mut process = Process::spawn("PostgreSQL", &mut server, &directory.join("postgres.log"))?;
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    let answers = async || sqlx::PgConnection::connect(&url).await.is_ok();
    process.wait_ready(DEADLINE, answers).await?;
    Ok(process)
}
