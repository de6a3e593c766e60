//! The whole system on one machine, from the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack::{bench, faults, memory, private_servers, reconcile, up};

/// Runs the whole system, or just its servers, privately to this checkout, and looks into any.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Arguments),
    Servers(private_servers::Arguments),
    Faults(faults::Arguments),
    Memory(memory::Arguments),
    Reconcile(Box<reconcile::Arguments>),
    Bench(bench::Arguments),
}

/// One thread, which lives to the end: the kernel kills the children when it is gone.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match service::settings::<Arguments>().command {
        Command::Up(arguments) => up::run(&arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Servers(arguments) => private_servers::run(&arguments).await,
        Command::Faults(arguments) => faults::run(&arguments).await,
        Command::Memory(arguments) => memory::run(&arguments).await,
        Command::Reconcile(arguments) => reconcile::run(&arguments).await,
        Command::Bench(arguments) => bench::run(&arguments).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::FAILURE
    })
}
