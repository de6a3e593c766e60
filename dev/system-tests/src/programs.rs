//! Starts programs as an operator does and waits until they have ended.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use stack::service::{Program, Service, sibling_program};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::{SOON, TestEnvironment, eventually};

/// Exceeds the time that a service needs to complete its work in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The output and the exit status of a program.
#[derive(Debug)]
pub struct ProgramOutput {
    /// The exit status.
    pub status: i32,
    /// The text on standard output.
    pub stdout: String,
    /// The text on standard error.
    pub stderr: String,
}

/// Runs `web-store republish`. Its environment has only the URL of the Web Store's database.
///
/// # Errors
/// Returns an error if the program cannot be started or does not end in time.
pub async fn republish(
    environment: &TestEnvironment,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<ProgramOutput> {
    let mut command = Command::new(Program::WebStore.path()?);
    let urls = environment.connection_urls();
    command.env_clear().env("WEB_STORE_DATABASE_URL", urls.web_store_database_url("web_store"));
    command.arg("republish").args(arguments);
    run(command, input).await
}

/// Runs `console reconcile`. Its environment has only the URLs of the databases and the broker.
///
/// # Errors
/// Returns an error if the program cannot be started or does not end in time.
pub async fn reconcile(environment: &TestEnvironment, arguments: &[&str]) -> anyhow::Result<ProgramOutput> {
    let mut command = reconcile_command(environment)?;
    command.args(arguments);
    run(command, "").await
}

/// Returns the command `console reconcile`. Its environment has only the URLs of the databases and the broker.
///
/// # Errors
/// Returns an error if the program is not built.
pub fn reconcile_command(environment: &TestEnvironment) -> anyhow::Result<Command> {
    let mut command = console_command(environment)?;
    command.arg("reconcile");
    Ok(command)
}

/// Returns the command `console`, for the operator `tester`.
///
/// # Errors
/// Returns an error if the program is not built.
pub fn console_command(environment: &TestEnvironment) -> anyhow::Result<Command> {
    let mut command = Command::new(sibling_program("console")?);
    command.env_clear().envs(environment.connection_urls().console_settings());
    command.env("CONSOLE_OPERATOR", "tester");
    Ok(command)
}

/// Starts a retry of all dead letters with `rate` letters per second, and kills it when `has_begun`. Returns the id of the
/// operation.
///
/// # Errors
/// Returns an error if the program cannot be started, or if the operation does not begin in time.
pub async fn interrupt_retry(
    environment: &TestEnvironment,
    rate: u32,
    has_begun: impl AsyncFn() -> bool,
) -> anyhow::Result<String> {
    let mut command = console_command(environment)?;
    command.args(["dead-letters", "retry", "--all", "--rate", &rate.to_string()]);
    let mut retry = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let errors = retry.stderr.take().context("no standard error")?;
    let line = BufReader::new(errors).lines().next_line().await?.context("no operation")?;
    eventually(SOON, "some letters have moved", async || has_begun().await.then_some(())).await?;
    retry.kill().await?;
    line.split([' ', ':']).nth(1).map(str::to_owned).context("no operation")
}

/// Runs `console dead-letters` with arguments that white space separates.
///
/// # Errors
/// Returns an error if the program cannot be started or does not end in time.
pub async fn dead_letters(environment: &TestEnvironment, arguments: &str) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.arg("dead-letters").args(arguments.split_whitespace());
    run(command, "").await
}

/// Runs a program to completion with `input` on its standard input.
///
/// # Errors
/// Returns an error if the program cannot be started, does not end in time, is ended by a signal, or prints
/// text that is not UTF-8.
pub async fn run(mut command: Command, input: &str) -> anyhow::Result<ProgramOutput> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start the program")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let feed = async {
        // A program that needs no input may end before it has read all of it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = timeout(SOON * 4, ended).await.context("the program does not end")??;
    Ok(ProgramOutput {
        status: output.status.code().context("the program was ended by a signal")?,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// Stops a service with SIGTERM and waits until it has ended.
///
/// # Errors
/// Returns an error if the service does not end in time, or if its exit status is not 0.
pub async fn stop(mut service: Service) -> anyhow::Result<()> {
    let status = service.terminate(STOP_TIMEOUT).await?;
    ensure!(status.success(), "{} ended with {status}", service.process.name());
    Ok(())
}
