//! The program `console`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use console::{dead_letters, find, journal, reconcile, subscriptions};

/// Shows operators the state of the whole system
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Reconcile(Box<reconcile::Arguments>),
    Find(Box<find::Arguments>),
    DeadLetters(Box<dead_letters::Arguments>),
    Subscriptions(Box<subscriptions::Arguments>),
    Journal(Box<journal::Arguments>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    match service_kit::parse_config::<Arguments>().command {
        Command::Reconcile(arguments) => reconcile::run(&arguments).await,
        Command::Find(arguments) => find::run(&arguments).await,
        Command::DeadLetters(arguments) => dead_letters::run(&arguments).await,
        Command::Subscriptions(arguments) => subscriptions::run(&arguments).await,
        Command::Journal(arguments) => journal::run(&arguments).await,
    }
}
