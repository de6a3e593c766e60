//! One process of one of the three services.

use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use reqwest::Client;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;

use crate::{command::child_command, process::Process, terminal::forward_output};

/// The environment variables of this program that every service inherits.
const INHERITED: [&str; 6] = [
    "PATH",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// One of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The form, the customers, the outbox.
    WebStore,
    /// Maps events to commands.
    Transformer,
    /// Marketing's own list of customers.
    Marketing,
}

impl Program {
    /// All services, in the order in which a registration passes them.
    pub const ALL: [Self; 3] = [Self::WebStore, Self::Transformer, Self::Marketing];

    /// Returns the name of the binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebStore => "web-store",
            Self::Transformer => "transformer",
            Self::Marketing => "marketing",
        }
    }

    fn listen_variable(self) -> &'static str {
        match self {
            Self::WebStore => "WEB_STORE_LISTEN",
            Self::Transformer => "TRANSFORMER_LISTEN",
            Self::Marketing => "MARKETING_LISTEN",
        }
    }

    /// Returns the path of the binary; see [`sibling_program`].
    ///
    /// # Errors
    /// Returns an error if the binary is not built.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        sibling_program(self.name())
    }
}

/// Returns the path of a program of this workspace.
///
/// The program is in `STACK_BIN_DIR`, or else in the directory of this program's own binary.
///
/// # Errors
/// Returns an error if the program is not built.
pub fn sibling_program(name: &str) -> anyhow::Result<PathBuf> {
    let directory = if let Some(directory) = env::var_os("STACK_BIN_DIR") {
        PathBuf::from(directory)
    } else {
        let own = env::current_exe().context("cannot locate this program")?;
        let directory = own.parent().context("this program has no directory")?;
        // Test programs are in `deps/`, below the binaries.
        let parent = directory.parent().filter(|_| directory.file_name() == Some(OsStr::new("deps")));
        parent.unwrap_or(directory).to_owned()
    };
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{} is not built; run `cargo build --workspace` with the same profile as this program",
        path.display()
    );
    Ok(path)
}

/// The destination of a service's log lines.
#[derive(Debug, Clone)]
pub enum Output {
    /// This program's standard output. Each line begins with the service's name.
    Terminal,
    /// A file. Lines are appended.
    File(PathBuf),
}

/// A service that runs, or whose process has ended. Dropping it kills the process.
#[derive(Debug)]
pub struct Service {
    /// The process, which can be killed, paused, and resumed.
    pub process: Process,
    launch: Launch,
}

/// The parameters of a start, for the first one and each restart.
#[derive(Debug)]
struct Launch {
    program: Program,
    path: PathBuf,
    address: SocketAddr,
    settings: Vec<(String, String)>,
    output: Output,
}

impl Service {
    /// Starts a service that listens on `address`, and does not wait until it is ready.
    ///
    /// Its environment has only `settings` and a few inherited variables, such as `RUST_LOG`.
    ///
    /// # Errors
    /// Returns an error if the binary is not built or cannot be started.
    pub fn start<'a>(
        program: Program,
        address: SocketAddr,
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        Self::start_from(program.path()?, program, address, settings, output)
    }

    /// Starts the binary at `path`, which may be that of another release; see [`Service::start`].
    ///
    /// # Errors
    /// Returns an error if the binary cannot be started.
    pub fn start_from<'a>(
        path: PathBuf,
        program: Program,
        address: SocketAddr,
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let launch = Launch { program, path, address, settings, output: output.clone() };
        Ok(Self { process: launch.spawn()?, launch })
    }

    /// Starts a process with the same parameters again. A process that still runs is killed.
    ///
    /// # Errors
    /// Returns an error if the binary cannot be started.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = self.launch.spawn()?;
        Ok(())
    }

    /// Returns the address that the service listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.launch.address
    }

    /// Returns the URL of the service, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the URL of the service's metrics, if its settings contain `METRICS_LISTEN`.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        metrics_url(&self.launch.settings)
    }

    /// Waits until the service reports that it is ready.
    ///
    /// # Errors
    /// Returns an error if the process ends, or if `deadline` passes.
    pub async fn wait_ready(&mut self, deadline: Duration) -> anyhow::Result<()> {
        self.wait_for("/health/ready", deadline).await
    }

    /// Waits until the service responds to requests. It handles signals then.
    ///
    /// # Errors
    /// Returns an error if the process ends, or if `deadline` passes.
    pub async fn wait_live(&mut self, deadline: Duration) -> anyhow::Result<()> {
        self.wait_for("/health/live", deadline).await
    }

    async fn wait_for(&mut self, path: &str, deadline: Duration) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.url());
        let client = Client::new();
        let succeeds = async || {
            let response = client.get(&url).timeout(Duration::from_secs(1)).send().await;
            response.is_ok_and(|response| response.status().is_success())
        };
        self.process.wait_ready(deadline, succeeds).await
    }

    /// Kills the process (`kill -9`).
    ///
    /// # Errors
    /// Returns an error if the operating system does not report the exit.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Asks the process to complete its current work and to end (SIGTERM).
    ///
    /// # Errors
    /// Returns an error if the process still runs after `deadline`. It has been killed then.
    pub async fn terminate(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        self.process.stop(Signal::TERM, deadline).await
    }
}

/// Returns the URL of a program's metrics, if its settings contain `METRICS_LISTEN`.
pub(crate) fn metrics_url(settings: &[(String, String)]) -> Option<String> {
    let (_, address) = settings.iter().find(|(name, _)| name == "METRICS_LISTEN")?;
    Some(format!("http://{address}/metrics"))
}

impl Launch {
    fn spawn(&self) -> anyhow::Result<Process> {
        spawn(self.program.name(), &self.path, &self.output, |command| {
            command.env(self.program.listen_variable(), self.address.to_string());
            command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        })
    }
}

/// Starts a program of this workspace. Its environment has a few inherited variables and those that `set_up` adds.
pub(crate) fn spawn(
    name: &'static str,
    path: &Path,
    output: &Output,
    set_up: impl FnOnce(&mut Command),
) -> anyhow::Result<Process> {
    let mut command = child_command(path);
    command.env_clear();
    for variable in INHERITED {
        command.envs(env::var_os(variable).map(|value| (variable, value)));
    }
    // Lines for people, although standard error is a pipe or a file.
    command.env("LOG_FORMAT", "text");
    set_up(&mut command);
    match output {
        Output::File(path) => Process::spawn(name, &mut command, path),
        Output::Terminal => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = Process::spawn_piped(name, &mut command)?;
            forward_output(name, process.child());
            Ok(process)
        }
    }
}

/// Returns whether all health checks of the service at `url` pass.
///
/// A service can be ready while a check fails, if it works without that server for a while.
pub async fn all_checks_pass(client: &Client, url: &str) -> bool {
    let request = async {
        let response = client.get(format!("{url}/health/ready")).send().await?;
        response.json::<Value>().await
    };
    let Ok(health) = request.await else { return false };
    health["parts"].as_object().is_some_and(|parts| parts.values().all(|part| part == "up"))
}
