//! A private PostgreSQL server with the Web Store's database.

mod standby;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Signal, geteuid};
use sqlx::{Connection, PgConnection};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    command::{child_command, run_tool},
    connection_urls::PASSWORD,
    process::Process,
    process_tree::is_working_directory,
    work_dir::{remove_directory_if_exists, remove_file_if_exists},
};

const DEADLINE: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const SETUP_SCRIPT: &str = include_str!("../../../deploy/servers/postgres.sh");

/// The file that marks a complete first start. Existing data directories have this spelling.
const INITIALIZED: &str = "initialised";

/// Options of `setpriv`: PostgreSQL refuses to run as root.
const AS_POSTGRES: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"];

/// A server that runs, or that was stopped or killed and can be restarted.
#[derive(Debug)]
pub struct Postgres {
    /// The postmaster. Its children are the backends.
    pub process: Process,
    directory: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts the server on the data in `directory`. The first start creates the database and the users.
    ///
    /// # Errors
    /// Returns an error if PostgreSQL is not installed or does not become ready.
    pub async fn start(directory: &Path, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let marker = directory.join(INITIALIZED);
        if !marker.exists() {
            initialize(&directory).await?;
        }
        let process = launch(&directory, port).await?;
        let server = Self { process, directory, port };
        if !marker.exists() {
            server.set_up_database().await?;
            fs::write(marker, "")?;
        }
        Ok(server)
    }

    /// Returns the port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server. It rolls back open transactions and keeps committed data.
    ///
    /// # Errors
    /// Returns an error if the server had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        // SIGINT is the fast shutdown. After SIGTERM, the server would wait until every client disconnects.
        self.process.stop(Signal::INT, DEADLINE).await?;
        Ok(())
    }

    /// Stops the server if it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// Returns an error if the server does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.process = launch(&self.directory, self.port).await?;
        Ok(())
    }

    async fn set_up_database(&self) -> anyhow::Result<()> {
        let mut script = child_command("sh");
        script.args(["-c", SETUP_SCRIPT]);
        script.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        script.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "10");
        script.env("WEB_STORE_DATABASE_OWNER_PASSWORD", PASSWORD);
        script.env("WEB_STORE_DATABASE_PASSWORD", PASSWORD);
        script.env("CONSOLE_DATABASE_PASSWORD", PASSWORD);
        run_tool("set-up of the Web Store's database", &mut script).await?;
        Ok(())
    }
}

async fn initialize(directory: &Path) -> anyhow::Result<()> {
    let data = directory.join("data");
    // An earlier first start may have been interrupted.
    remove_directory_if_exists(&data)?;
    fs::create_dir(&data)?;
    let password = directory.join("superuser-password");
    fs::write(&password, PASSWORD)?;
    if geteuid().is_root() {
        run_tool("chown to postgres", child_command("chown").arg("postgres:").arg(&data)).await?;
    }
    let mut initdb = server_command(&data, "initdb").await?;
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(&data).current_dir("/");
    run_tool("initdb", &mut initdb).await?;
    Ok(())
}

async fn launch(directory: &Path, port: u16) -> anyhow::Result<Process> {
    let data = directory.join("data");
    // After a kill, the backends need a moment to notice it. Until then, a new server refuses to start.
    let give_up = Instant::now() + DEADLINE;
    while is_working_directory(&data) {
        if Instant::now() > give_up {
            bail!("another PostgreSQL still runs in {}; stop it first", data.display());
        }
        sleep(POLL_INTERVAL).await;
    }
    // No process uses the directory now. A killed server that is not yet reaped still has a process id. The
    // file with this id would prevent the start.
    remove_file_if_exists(&data.join("postmaster.pid"))?;
    let mut server = server_command(&data, "postgres").await?;
    server.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir("/");
    // There is no Unix socket: its path is limited to 107 bytes, and the path of a checkout may be longer.
    for setting in
        ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "timezone=UTC"]
    {
        server.args(["-c", setting]);
    }
    let mut process = Process::spawn("PostgreSQL", &mut server, &directory.join("postgres.log"))?;
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    process.wait_ready(DEADLINE, async || PgConnection::connect(&url).await.is_ok()).await?;
    Ok(process)
}

/// Returns a command for one of PostgreSQL's programs. Root runs it as the user `postgres`.
async fn server_command(data: &Path, program: &str) -> anyhow::Result<Command> {
    let program = newest_installation()?.join(program);
    if !geteuid().is_root() {
        return Ok(child_command(program));
    }
    let mut setpriv = Command::new("setpriv");
    setpriv.args(AS_POSTGRES);
    let check = Command::new("setpriv").args(AS_POSTGRES).args(["test", "-x"]).arg(data).status().await;
    if !check.context("cannot start setpriv; run script/install")?.success() {
        // The checkout is below /root. The server needs to pass the directories above its data.
        setpriv.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
    }
    setpriv.arg("--").arg(program);
    Ok(setpriv)
}

/// Returns the directory of the newest version's programs. Debian does not put them in the `PATH`.
fn newest_installation() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter(|version| version.path().join("bin/postgres").exists())
        .max_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()))
        .map(|version| version.path().join("bin"))
        .context("PostgreSQL is not installed; run script/install")
}
