//! One process of one of our services: started, awaited, killed, frozen, stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use rustix::process::Signal;
use serde_json::Value;

use crate::command::child_command;
use crate::process::Process;
use crate::terminal;

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The form, the customers, the outbox.
    WebStore,
    /// Turns events into commands.
    Transformer,
    /// The table of customers that Marketing works with.
    Marketing,
}

impl Program {
    /// In the order of the data's way.
    pub const ALL: [Self; 3] = [Self::WebStore, Self::Transformer, Self::Marketing];

    /// The binary's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebStore => "web-store",
            Self::Transformer => "transformer",
            Self::Marketing => "marketing",
        }
    }

    fn listen_setting(self) -> &'static str {
        match self {
            Self::WebStore => "WEB_STORE_LISTEN",
            Self::Transformer => "TRANSFORMER_LISTEN",
            Self::Marketing => "MARKETING_LISTEN",
        }
    }

    /// Next to this program's own binary, or where `STACK_BIN_DIR` says.
    ///
    /// # Errors
    /// If it is not built.
    pub fn path(self) -> Result<PathBuf> {
        sibling_program(self.name())
    }
}

/// Returns the path of a program of this workspace: in the directory of this program's own binary, or in
/// `STACK_BIN_DIR`.
///
/// # Errors
/// Returns an error if the program is not built.
pub fn sibling_program(name: &str) -> Result<PathBuf> {
    let directory = if let Some(directory) = std::env::var_os("STACK_BIN_DIR") {
        PathBuf::from(directory)
    } else {
        let own = std::env::current_exe().context("cannot locate this program")?;
        let directory = own.parent().context("this program has no directory")?;
        // Test programs are in `deps/`, below the binaries.
        let below = directory.file_name().is_some_and(|name| name == "deps");
        directory.parent().filter(|_| below).unwrap_or(directory).to_owned()
    };
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{} is not built; run `cargo build --workspace` with the same profile as this program",
        path.display()
    );
    Ok(path)
}

/// Where a service's log lines go.
#[derive(Clone, Debug)]
pub enum Output {
    /// To this program's standard output, with the service's name in front.
    Console,
    /// To the end of a file.
    File(PathBuf),
}

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub struct Service {
    /// To kill, pause and resume it.
    pub process: Process,
    address: SocketAddr,
}

impl Service {
    /// Starts a service on an address of its own, with these settings and nothing else in its
    /// environment, and does not wait until it is ready.
    ///
    /// # Errors
    /// If the binary is not built or cannot be started.
    pub fn start<'a>(
        program: Program,
        address: SocketAddr,
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> Result<Self> {
        let mut command = child_command(program.path()?);
        command.env_clear();
        for name in ["PATH", "RUST_LOG", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env(program.listen_setting(), address.to_string()).envs(settings);
        let process = match output {
            Output::File(path) => Process::spawn(program.name(), &mut command, Path::new(path))?,
            Output::Console => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut process = Process::spawn_piped(program.name(), &mut command)?;
                terminal::pass_on(program.name(), process.child());
                process
            }
        };
        Ok(Self { process, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// If it ends before, or is not ready by the deadline.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        self.wait_for("/health/ready", deadline).await
    }

    /// Waits until it answers at all, and would hear a signal.
    ///
    /// # Errors
    /// If it ends before, or does not answer by the deadline.
    pub async fn wait_live(&mut self, deadline: Duration) -> Result<()> {
        self.wait_for("/health/live", deadline).await
    }

    async fn wait_for(&mut self, path: &str, deadline: Duration) -> Result<()> {
        let check = format!("{}{path}", self.url());
        let client = Client::new();
        let answers = async || {
            let answer = client.get(&check).timeout(Duration::from_secs(1)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        self.process.wait_ready(deadline, answers).await
    }

    /// Kills it at once (`kill -9`).
    ///
    /// # Errors
    /// If the operating system does not tell of its end.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Asks it to finish what is in hand and leave (SIGTERM).
    ///
    /// # Errors
    /// If it had to be killed at the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.stop(Signal::TERM, deadline).await
    }
}

/// Whether the service at a URL says that each part it works with is up, also those that it can do without
/// for a while.
pub async fn all_checks_pass(client: &Client, url: &str) -> bool {
    let ask = async {
        let answer = client.get(format!("{url}/health/ready")).send().await?;
        answer.json::<Value>().await.context("health in JSON")
    };
    let Ok(health) = ask.await else { return false };
    health["parts"].as_object().is_some_and(|parts| parts.values().all(|part| part == "up"))
}
