#![doc = include_str!("../README.md")]

mod alerts;
mod bad_messages;
mod cluster;
mod customers;
mod database_state;
mod duplicates;
mod edits;
mod fault;
mod fault_run;
mod find;
mod fuzz;
mod hold;
mod letters;
mod link;
mod load;
mod locked_servers;
mod memory;
mod operator_errors;
mod pace;
mod poison;
pub mod proxy;
mod quiescence;
mod recoveries;
mod recovery;
mod replays;
mod replicas;
mod restore;
mod rolling;
mod run;
mod schedule;
mod sites;
mod sweep;
mod system;
mod tables;
mod verdict;
pub mod wire;

use std::process::ExitCode;

use anyhow::Context;
use service_kit::write_stdout;
use stack::{broker::Broker, servers::Servers, stop_signal::StopSignal, terminal::print_line};

use crate::{
    alerts::AlertArguments, cluster::ClusterArguments, find::FindArguments, fuzz::FuzzArguments,
    hold::HoldArguments, letters::LetterArguments, memory::MemoryArguments, replays::ReplayArguments,
    replicas::ReplicaArguments, restore::RestoreArguments, rolling::RollingArguments, run::RunArguments,
    sites::SiteArguments,
};
pub use crate::{
    link::Link,
    sweep::{SweepArguments, Tally, sweep},
};

/// Injects faults into the system and reports whether a registered customer is lost or duplicated.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    OnServers(ServerCommand),
    Replicas(ReplicaArguments),
}

/// A check of a system on one set of servers.
#[derive(Debug, clap::Subcommand)]
enum ServerCommand {
    Run(RunArguments),
    Sweep(SweepArguments),
    Memory(MemoryArguments),
    Fuzz(FuzzArguments),
    Hold(HoldArguments),
    Replays(ReplayArguments),
    Restore(RestoreArguments),
    Rolling(RollingArguments),
    Alerts(AlertArguments),
    Letters(LetterArguments),
    Find(FindArguments),
    Cluster(ClusterArguments),
    Sites(SiteArguments),
}

/// Runs a check on private servers and prints its result. The exit status is 0 only if the check passes.
///
/// SIGINT, SIGTERM, and SIGHUP end the check without a result.
///
/// # Errors
/// Returns an error if a server or a service does not start. Returns an error if the system does not recover
/// from a fault.
pub async fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let passed = tokio::select! {
        passed = Box::pin(check(&arguments.command)) => passed?,
        () = stop.wait() => false,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::Replicas(arguments) => replicas::run(*arguments, log).await,
        Command::OnServers(command) => Box::pin(check_on_servers(command)).await,
    }
}

async fn check_on_servers(command: &ServerCommand) -> anyhow::Result<bool> {
    let directory = tempfile::tempdir().context("cannot create a directory for the servers")?;
    if let ServerCommand::Cluster(_) = command {
        Broker::prepare_cluster(&directory.path().join("broker"))?;
    }
    let mut servers = match command {
        ServerCommand::Sites(_) => Servers::start_sites(directory.path(), log).await?,
        _ => Servers::start(directory.path(), log).await?,
    };
    match command {
        ServerCommand::Run(arguments) => {
            let verdict = Box::pin(run::run(servers, arguments, log)).await?;
            for finding in &verdict.poison.findings {
                log(finding);
            }
            write_stdout(&format!("\n{}\n{}\n{verdict}\n", verdict.recoveries, verdict.poison.kinds))?;
            Ok(verdict.is_clean())
        }
        ServerCommand::Sweep(arguments) => {
            let tally = sweep(&servers, *arguments, log).await?;
            write_stdout(&format!("{tally}\n"))?;
            servers.stop().await?;
            Ok(tally.is_clean())
        }
        ServerCommand::Memory(arguments) => {
            let peaks = memory::run(servers, arguments, log).await?;
            write_stdout(&peaks.to_string())?;
            Ok(peaks.are_flat())
        }
        ServerCommand::Fuzz(arguments) => {
            let report = fuzz::run(servers, arguments, log).await?;
            write_stdout(&format!("\n{report}\n"))?;
            Ok(report.is_clean())
        }
        ServerCommand::Hold(arguments) => {
            let is_flat = hold::run(&servers, arguments, log).await?;
            servers.stop().await?;
            Ok(is_flat)
        }
        ServerCommand::Replays(arguments) => {
            let is_clean = Box::pin(replays::run(&servers, *arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Restore(arguments) => {
            let is_clean = restore::run(&servers, *arguments, log).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Rolling(arguments) => {
            let is_clean = Box::pin(rolling::run(&servers, arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Letters(arguments) => {
            let is_clean = Box::pin(letters::run(&mut servers, *arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Find(arguments) => {
            let is_clean = Box::pin(find::run(&servers, *arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Cluster(arguments) => {
            Box::pin(cluster::run(servers, directory.path(), *arguments, log)).await
        }
        ServerCommand::Sites(arguments) => {
            let is_clean = Box::pin(sites::run(&servers, *arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
        ServerCommand::Alerts(arguments) => {
            let is_clean = Box::pin(alerts::run(&servers, *arguments, log)).await?;
            servers.stop().await?;
            Ok(is_clean)
        }
    }
}

fn log(line: &str) {
    print_line("faults", line);
}
