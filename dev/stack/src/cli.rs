//! The command line of the program `stack`.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{renamed, run, up};

/// Runs the whole system, or only its servers, privately to this checkout.
#[derive(Debug, Parser)]
#[command(name = "stack", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Arguments),
    #[command(alias = "servers")]
    Run(run::Arguments),
    #[command(external_subcommand)]
    Renamed(Vec<OsString>),
}

/// Runs a subcommand and returns the exit status of the program.
///
/// # Errors
/// Returns an error if a server, a service, or a command does not start.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Up(arguments) => up::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Run(arguments) => run::run(arguments).await,
        Command::Renamed(words) => renamed::exec(words),
    }
}
