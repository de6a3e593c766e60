//! Commands that never outlive this program, and tools that run to their end.

use std::ffi::OsStr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A command that the kernel kills when the thread that starts it ends, even by `kill -9`.
///
/// Start it from a thread that lives as long as the child has to: the main thread, or a test's own.
pub fn child_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a short-lived tool to its end; what it said is in the error if it fails.
///
/// # Errors
/// If it cannot be started or exits other than with 0.
pub async fn run_tool(what: &str, command: &mut Command) -> Result<String> {
    run_tool_with_input(what, command, "").await
}

/// As [`run`], with text on the tool's standard input.
///
/// # Errors
/// If it cannot be started or exits other than with 0.
pub async fn run_tool_with_input(what: &str, command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn();
    let mut child =
        child.with_context(|| format!("{what}: cannot be started; script/install installs it"))?;
    let mut standard_input = child.stdin.take();
    let feed = async {
        if let Some(mut pipe) = standard_input.take() {
            // A tool that wants no input may be gone before it has read it.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(|| format!("the end of {what}"))?;
    ensure!(
        output.status.success(),
        "{what} failed ({}): {}",
        output.status,
        last_lines(&String::from_utf8_lossy(&output.stderr))
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a person needs of a long output: its end.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
