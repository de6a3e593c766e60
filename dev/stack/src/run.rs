//! `stack run -- COMMAND`: runs a command with private servers, and removes the servers afterwards.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitCode, ExitStatus},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::{command::child_command, servers::Servers, stop_signal::StopSignal};

/// Starts empty servers, runs a command, and removes the servers. The command finds the servers in its
/// environment (`STACK_SERVERS_…`). The exit status is the command's.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers use a temporary directory below this one.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit status.
///
/// # Errors
/// Returns an error if a server or the command does not start.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let context = || format!("cannot create a directory in {}", arguments.dir.display());
    fs::create_dir_all(&arguments.dir).with_context(context)?;
    let directory = tempfile::Builder::new().prefix("servers-").tempdir_in(&arguments.dir);
    let directory = directory.with_context(context)?;
    eprintln!("stack: starting servers in {}", directory.path().display());
    let mut servers = tokio::select! {
        servers = Servers::start(directory.path(), |_| ()) => servers?,
        () = stop.wait() => return Ok(ExitCode::FAILURE),
    };
    let status = run_command(arguments, &servers, &mut stop).await;
    // A server that did not stop was killed. Its data is deleted, so only the command's status counts.
    if let Err(error) = servers.stop().await {
        eprintln!("stack: {error:#}");
    }
    Ok(exit_code(status?))
}

async fn run_command(
    arguments: &Arguments,
    servers: &Servers,
    stop: &mut StopSignal,
) -> anyhow::Result<ExitStatus> {
    let mut child = child_command(&arguments.command[0]);
    child.args(&arguments.command[1..]).envs(servers.ports().to_env()).kill_on_drop(true);
    let mut child = child.spawn().context("cannot start the command")?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("cannot wait for the end of the command"),
            // A terminal sends Ctrl-C to the command, too. Other signals reach only this program.
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

/// Returns the exit code as a shell does: 128 plus the signal's number if a signal ended the command.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
