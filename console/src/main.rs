//! The program `console`.

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand};
use console::{dead_letters, erasure, export, find, journal, page, reconcile, subscriptions};
use tokio::runtime::Builder;

/// Shows operators the state of the whole system
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<page::Arguments>),
    Health(page::HealthArguments),
    /// Asks for a password, or reads it from standard input, and prints its hash
    HashPassword,
    Reconcile(Box<reconcile::Arguments>),
    Find(Box<find::Arguments>),
    DeadLetters(Box<dead_letters::Arguments>),
    Subscriptions(Box<subscriptions::Arguments>),
    Journal(Box<journal::Arguments>),
    Export(Box<export::Arguments>),
    Erase(Box<erasure::Arguments>),
}

fn main() -> anyhow::Result<ExitCode> {
    // Before the settings are parsed, so that an invalid hash in the environment does not prevent a new one.
    if env::args().nth(1).as_deref() == Some("hash-password") {
        return service_kit::hash_password().map(|()| ExitCode::SUCCESS);
    }
    let command = service_kit::parse_config::<Arguments>().command;
    // The page responds on other threads than the watch reads the servers.
    let is_service = matches!(command, Command::Serve(_));
    let mut runtime = if is_service { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    runtime.enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => Box::pin(page::run(*arguments)).await.map(|()| ExitCode::SUCCESS),
        Command::Health(arguments) => page::probe_health(&arguments).await.map(|()| ExitCode::SUCCESS),
        Command::HashPassword => service_kit::hash_password().map(|()| ExitCode::SUCCESS),
        Command::Reconcile(arguments) => reconcile::run(&arguments).await,
        Command::Find(arguments) => find::run(&arguments).await,
        Command::DeadLetters(arguments) => dead_letters::run(&arguments).await,
        Command::Subscriptions(arguments) => subscriptions::run(&arguments).await,
        Command::Journal(arguments) => journal::run(&arguments).await,
        Command::Export(arguments) => export::run(&arguments).await,
        Command::Erase(arguments) => erasure::run(&arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn settings_have_unique_names() {
        Arguments::command().debug_assert();
    }
}
