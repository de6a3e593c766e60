//! The program `faults`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use faults::{memory, run, sweep};

/// Breaks the system on purpose and reports whether a registered customer is lost or duplicated.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Sweep(sweep::Arguments),
    Memory(memory::Arguments),
}

/// Uses one thread that lives until the program ends: the kernel kills the children when it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match service_kit::parse_config::<Arguments>().command {
        Command::Run(arguments) => run::run(&arguments).await,
        Command::Sweep(arguments) => sweep::run(&arguments).await,
        Command::Memory(arguments) => memory::run(&arguments).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("faults: {error:#}");
        ExitCode::FAILURE
    })
}
