//! `stack servers`: runs a command with servers of its own, and removes them afterwards.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::command::child_command;
use crate::servers::Servers;
use crate::stop_signal::StopSignal;

/// Starts a fresh set of servers, runs a command that finds them by its environment
/// (`STACK_SERVERS_…`), stops and removes them, and exits as the command did.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Below this directory the servers get a new one of their own.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command; its exit status is the outcome.
///
/// # Errors
/// If the servers or the command cannot be started.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let in_directory = || format!("a directory in {}", arguments.dir.display());
    std::fs::create_dir_all(&arguments.dir).with_context(in_directory)?;
    let directory = tempfile::Builder::new().prefix("servers-").tempdir_in(&arguments.dir);
    let directory = directory.with_context(in_directory)?;
    eprintln!("stack: starting servers in {}", directory.path().display());
    let mut servers = tokio::select! {
        servers = Servers::start(directory.path(), |_| ()) => servers?,
        () = stop.wait() => return Ok(ExitCode::FAILURE),
    };
    let status = run_command(arguments, &servers, &mut stop).await;
    // What failed to stop was killed. It is all thrown away, and the command's outcome counts.
    if let Err(error) = servers.stop().await {
        eprintln!("stack: {error:#}");
    }
    Ok(exit_code(status?))
}

async fn run_command(arguments: &Arguments, servers: &Servers, stop: &mut StopSignal) -> Result<ExitStatus> {
    let mut child = child_command(&arguments.command[0]);
    child.args(&arguments.command[1..]).envs(servers.ports().to_env()).kill_on_drop(true);
    let mut child = child.spawn().context("the command cannot be started")?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("the end of the command"),
            // A terminal's Ctrl-C reaches the command by itself; what else stops us is passed on.
            () = stop.wait() => terminate(&child),
        }
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// As a shell tells it: 128 and the signal's number if a signal ended the command.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
