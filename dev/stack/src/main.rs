//! The program `stack`: runs the whole system, or only its servers, privately to this work tree.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use stack::{renamed, run, up};

/// Runs the whole system, or only its servers, privately to this work tree.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
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

/// Uses one thread that lives until the program ends: the kernel kills the children when it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match service_kit::parse_config::<Arguments>().command {
        Command::Up(arguments) => up::run(&arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Run(arguments) => run::run(&arguments).await,
        Command::Renamed(words) => renamed::exec(&words),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::FAILURE
    })
}
