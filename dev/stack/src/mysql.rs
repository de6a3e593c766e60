//! A private MySQL or MariaDB server, whichever is installed, with Marketing's database in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, geteuid};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::command::{child_command, run_tool};
use crate::connection_urls::PASSWORD;
use crate::installed;
use crate::leftovers;
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(90);
const RIGHTS: &str = include_str!("../../../deploy/servers/mysql.sh");

/// Relative to the data directory, because a socket's path may not be longer than 107 bytes.
const SOCKET: &str = "--socket=mysql.sock";

/// A running server, or one that was stopped or killed and can be started again.
#[derive(Debug)]
pub struct Mysql {
    /// The server, one process.
    pub process: Process,
    directory: PathBuf,
    port: u16,
}

impl Mysql {
    /// Starts the server whose data is in `directory`; the first time, makes the data and the rights.
    ///
    /// # Errors
    /// If it is not installed or does not become ready.
    pub async fn start(directory: &Path, port: u16) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let initialised = directory.join("initialised");
        if !initialised.exists() {
            initialise(&directory.join("data")).await?;
        }
        let process = launch(&directory, port).await?;
        if !initialised.exists() {
            set_up_rights(&directory.join("data")).await?;
            fs::write(initialised, "")?;
        }
        Ok(Self { process, directory, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it; everything committed is kept.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, DEADLINE).await?;
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
}

async fn initialise(data: &Path) -> Result<()> {
    // An earlier first start may not have got to its end.
    leftovers::remove_directory(data)?;
    let mut tool = if installed::find("mariadbd").is_ok() {
        let mut tool = child_command(installed::find("mariadb-install-db")?);
        tool.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        tool
    } else {
        let mut tool = server_program(data)?;
        tool.arg("--initialize-insecure");
        tool
    };
    // Of its own: MariaDB clears away temporary tables that it finds, another server's as well.
    let temporary = tempfile::tempdir().context("a directory for temporary tables")?;
    tool.arg(format!("--tmpdir={}", temporary.path().display()));
    tool.arg(datadir(data)).args(as_root());
    run_tool("making MySQL's data directory", &mut tool).await?;
    Ok(())
}

async fn launch(directory: &Path, port: u16) -> Result<Process> {
    let data = directory.join("data");
    let mut server = server_program(&data)?;
    server.arg(datadir(&data)).args(as_root()).arg(format!("--port={port}"));
    server.args(["--bind-address=127.0.0.1", SOCKET, "--pid-file=mysql.pid", "--loose-mysqlx=OFF"]);
    server.arg(format!("--tmpdir={}", data.display()));
    server.args(["--default-time-zone=+00:00", "--skip-name-resolve", "--max-connections=300"]);
    server.args(["--innodb-buffer-pool-size=64M", "--performance-schema=OFF"]);
    let mut process = Process::spawn("MySQL", &mut server, &directory.join("mysql.log"))?;
    process.wait_ready(DEADLINE, async || greets(port).await).await?;
    Ok(process)
}

/// The server speaks first, and listens only when it has recovered its data.
async fn greets(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    connection.read_u8().await.is_ok()
}

async fn set_up_rights(data: &Path) -> Result<()> {
    let client = installed::find("mysql").or_else(|_| installed::find("mariadb"))?;
    let superuser = format!(
        "ALTER USER 'root'@'localhost' IDENTIFIED BY '{PASSWORD}';
         CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
         ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
         GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION"
    );
    let mut password = child_command(client);
    password.args(["--no-defaults", SOCKET, "--user=root", "--execute", &superuser]).current_dir(data);
    run_tool("setting MySQL's superuser's password", &mut password).await?;

    let mut script = child_command("sh");
    script.args(["-c", RIGHTS, "mysql.sh", "--no-defaults", SOCKET]).current_dir(data);
    script.env("MYSQL_ROOT_PASSWORD", PASSWORD);
    script.env("MARKETING_DATABASE_OWNER_PASSWORD", PASSWORD);
    script.env("MARKETING_DATABASE_PASSWORD", PASSWORD);
    run_tool("setting up Marketing's database", &mut script).await?;
    Ok(())
}

fn server_program(data: &Path) -> Result<Command> {
    let program = installed::find("mariadbd").or_else(|_| installed::find("mysqld"))?;
    if !Path::new("/etc/apparmor.d/usr.sbin.mysqld").exists() {
        let mut server = child_command(program);
        server.arg("--no-defaults");
        return Ok(server);
    }
    // Ubuntu's AppArmor profile keeps /usr/sbin/mysqld, by its path, to the machine's own data.
    let copy = data.with_file_name("mysqld");
    fs::copy(&program, &copy).with_context(|| format!("a copy of {}", program.display()))?;
    let mut server = child_command(copy);
    server.args(["--no-defaults", "--basedir=/usr"]);
    Ok(server)
}

fn datadir(data: &Path) -> String {
    format!("--datadir={}", data.display())
}

fn as_root() -> Option<&'static str> {
    // Without it MySQL refuses to run as root.
    geteuid().is_root().then_some("--user=root")
}
