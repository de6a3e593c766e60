//! A private MySQL or MariaDB server with Marketing's database. It uses the one that is installed.

mod replica;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Signal, geteuid};
use tokio::{io::AsyncReadExt, net::TcpStream, process::Command};

use crate::{
    command::{child_command, find_program, run_tool},
    connection_urls::PASSWORD,
    process::Process,
    work_dir::remove_directory_if_exists,
};

const DEADLINE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const SETUP_SCRIPT: &str = include_str!("../../../deploy/servers/mysql.sh");

/// The file that marks a complete first start. Existing data directories have this spelling.
const INITIALIZED: &str = "initialised";

/// Relative to the data directory, because the path of a socket is limited to 107 bytes.
const SOCKET: &str = "--socket=mysql.sock";

/// A server that runs, or that was stopped or killed and can be restarted.
#[derive(Debug)]
pub struct Mysql {
    /// The server, which is one process.
    pub process: Process,
    directory: PathBuf,
    port: u16,
}

impl Mysql {
    /// Starts the server on the data in `directory`. The first start creates the database and the users.
    ///
    /// More settings of the server can be in the file `my.cnf` of the directory.
    ///
    /// # Errors
    /// Returns an error if no server is installed, or if it does not become ready.
    pub async fn start(directory: &Path, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        let marker = directory.join(INITIALIZED);
        if !marker.exists() {
            initialize(&directory.join("data")).await?;
        }
        let process = launch(&directory, port).await?;
        if !marker.exists() {
            set_up_database(&directory.join("data")).await?;
            fs::write(marker, "")?;
        }
        Ok(Self { process, directory, port })
    }

    /// Returns the port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server. It keeps committed data.
    ///
    /// # Errors
    /// Returns an error if the server had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(Signal::TERM, DEADLINE).await?;
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
}

async fn initialize(data: &Path) -> anyhow::Result<()> {
    // An earlier first start may have been interrupted.
    remove_directory_if_exists(data)?;
    let mut tool = if find_program("mariadbd").is_ok() {
        let mut tool = child_command(find_program("mariadb-install-db")?);
        tool.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        tool
    } else {
        let mut tool = server_command(data)?;
        tool.arg("--initialize-insecure");
        tool
    };
    // MariaDB removes all temporary tables that it finds, so servers must not share this directory.
    let temporary = tempfile::tempdir().context("cannot create a directory for temporary tables")?;
    tool.arg(format!("--tmpdir={}", temporary.path().display()));
    tool.arg(data_dir_option(data)).args(user_option());
    run_tool("creation of MySQL's data directory", &mut tool).await?;
    Ok(())
}

async fn launch(directory: &Path, port: u16) -> anyhow::Result<Process> {
    let data = directory.join("data");
    let mut server = server_command(&data)?;
    server.arg(data_dir_option(&data)).args(user_option()).arg(format!("--port={port}"));
    server.args(["--bind-address=127.0.0.1", SOCKET, "--pid-file=mysql.pid", "--loose-mysqlx=OFF"]);
    server.arg(format!("--tmpdir={}", data.display()));
    server.args(["--default-time-zone=+00:00", "--skip-name-resolve", "--max-connections=300"]);
    server.args(["--innodb-buffer-pool-size=64M", "--performance-schema=OFF"]);
    let mut process = Process::spawn("MySQL", &mut server, &directory.join("mysql.log"))?;
    process.wait_ready(DEADLINE, async || sends_greeting(port).await).await?;
    Ok(process)
}

/// Returns whether the server sends its greeting. It listens only after it has recovered its data.
async fn sends_greeting(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    connection.read_u8().await.is_ok()
}

async fn set_up_database(data: &Path) -> anyhow::Result<()> {
    let client = find_program("mysql").or_else(|_| find_program("mariadb"))?;
    let superuser = format!(
        "ALTER USER 'root'@'localhost' IDENTIFIED BY '{PASSWORD}';
         CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
         ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
         GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION"
    );
    let mut password = child_command(client);
    password.args(["--no-defaults", SOCKET, "--user=root", "--execute", &superuser]).current_dir(data);
    run_tool("set-up of MySQL's superuser", &mut password).await?;

    let mut script = child_command("sh");
    script.args(["-c", SETUP_SCRIPT, "mysql.sh", "--no-defaults", SOCKET]).current_dir(data);
    script.env("MYSQL_ROOT_PASSWORD", PASSWORD);
    script.env("MARKETING_DATABASE_OWNER_PASSWORD", PASSWORD);
    script.env("MARKETING_DATABASE_PASSWORD", PASSWORD);
    script.env("CONSOLE_DATABASE_PASSWORD", PASSWORD);
    run_tool("set-up of Marketing's database", &mut script).await?;
    Ok(())
}

/// Returns a command for the installed server, without the machine's own settings.
fn server_command(data: &Path) -> anyhow::Result<Command> {
    let program = find_program("mariadbd").or_else(|_| find_program("mysqld"))?;
    if !Path::new("/etc/apparmor.d/usr.sbin.mysqld").exists() {
        let mut server = child_command(program);
        server.arg(settings_option(data));
        return Ok(server);
    }
    // Ubuntu's AppArmor profile limits /usr/sbin/mysqld to the machine's own data. It goes by the path, so a
    // copy of the program is not limited.
    let copy = data.with_file_name("mysqld");
    fs::copy(&program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
    let mut server = child_command(copy);
    server.arg(settings_option(data)).arg("--basedir=/usr");
    Ok(server)
}

/// Returns the option for this server's own settings, and for none of the machine.
fn settings_option(data: &Path) -> String {
    let own = data.with_file_name("my.cnf");
    if own.exists() { format!("--defaults-file={}", own.display()) } else { "--no-defaults".to_owned() }
}

fn data_dir_option(data: &Path) -> String {
    format!("--datadir={}", data.display())
}

/// MySQL refuses to run as root unless this option asks for it.
fn user_option() -> Option<&'static str> {
    geteuid().is_root().then_some("--user=root")
}
