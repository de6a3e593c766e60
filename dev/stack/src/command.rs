//! Starts programs: children that never outlive this process, and tools that run to completion.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use tokio::{io::AsyncWriteExt, process::Command};

/// Returns the path of an installed program, from `PATH` or `/usr/sbin`.
///
/// The `PATH` of an ordinary user often lacks `/usr/sbin`.
///
/// # Errors
/// Returns an error if the program is not installed.
pub fn find_program(program: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed; run script/install"))
}

/// Returns a command whose process the kernel kills when the thread that starts it ends.
///
/// This holds even if that thread ends by `kill -9`. Start the command from a thread that lives at least as
/// long as the child: the main thread, or the thread of a test.
pub fn child_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a tool to completion and returns its standard output.
///
/// # Errors
/// Returns an error with the last lines of its standard error if the tool does not start or fails.
pub async fn run_tool(operation: &str, command: &mut Command) -> anyhow::Result<String> {
    run_tool_with_input(operation, command, "").await
}

/// Runs a tool to completion with `input` as its standard input, and returns its standard output.
///
/// # Errors
/// Returns an error with the last lines of its standard error if the tool does not start or fails.
pub async fn run_tool_with_input(
    operation: &str,
    command: &mut Command,
    input: &str,
) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn();
    let mut child =
        child.with_context(|| format!("{operation}: cannot start the program; run script/install"))?;
    let mut stdin = child.stdin.take();
    let write_input = async {
        if let Some(mut pipe) = stdin.take() {
            // A tool that needs no input may end before it has read all of it.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(write_input, child.wait_with_output());
    let output = output.with_context(|| format!("{operation}: cannot read the output"))?;
    ensure!(
        output.status.success(),
        "{operation} failed ({}): {}",
        output.status,
        last_lines(&String::from_utf8_lossy(&output.stderr))
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the last eight lines that are not blank.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Returns the last lines of a log file.
pub(crate) fn log_tail(log: &Path) -> String {
    last_lines(&String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()))
}
