//! Holds servers in a harmful state under load, and samples the resources of services and databases.
//!
//! A service that cannot reach its server retries. A retry must not leave a backend, a thread, a descriptor, or memory
//! behind.

mod condition;
mod samples;

use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use service_kit::write_stdout;
use stack::{servers::Servers, service::Program};
use tokio::time::{Instant, sleep_until};

use self::{
    condition::Condition,
    samples::{ConditionReport, Sampler},
};
use crate::{load::Load, system::System};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);

/// Holds servers in a harmful state, and samples the resources that services use
///
/// The states are a silent, a locked, a read-only, and a full server. Each is held for a system of its own under
/// load. Those of a whole server are held one after another, and all others simultaneously. The exit status is 0 only
/// if backends, threads, descriptors, and memory are flat in every state, and the services are ready afterwards.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HoldArguments {
    /// Duration of each group of states that are held simultaneously
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Registrations per second for each state
    ///
    /// All systems share one machine. If they cannot keep up, waiting requests look like a leak of descriptors.
    #[arg(long, default_value_t = 5)]
    rate: u32,
    /// Limits the run to states whose name contains TEXT
    #[arg(long, value_name = "TEXT", value_parser = parse_name)]
    #[arg(default_value = "", hide_default_value = true)]
    only: String,
}

fn parse_name(text: &str) -> Result<String, String> {
    let names = Condition::groups().concat().into_iter().map(Condition::name).collect::<Vec<_>>();
    if names.iter().any(|name| name.contains(text)) {
        return Ok(text.to_owned());
    }
    Err(format!("no state has this text in its name; the states are:\n  {}", names.join("\n  ")))
}

/// Holds the selected conditions, and prints a report for each when its group has ended. Returns whether all
/// resources are flat.
///
/// # Errors
/// Returns an error if a system does not start, or if it is not ready after its condition.
pub(crate) async fn run(servers: &Servers, arguments: &HoldArguments, log: fn(&str)) -> anyhow::Result<bool> {
    let (mut conditions, mut flat) = (0, 0);
    for group in Condition::groups() {
        let selected = group.into_iter().filter(|condition| condition.name().contains(&arguments.only));
        let mut systems = Vec::new();
        for condition in selected {
            systems.push((condition, System::start(servers).await?));
        }
        let held = systems.iter().map(|(condition, system)| {
            let held = Box::pin(hold(*condition, system, arguments, log));
            async { held.await.with_context(|| condition.name()) }
        });
        for report in try_join_all(held).await? {
            write_stdout(&format!("\n{report}"))?;
            conditions += 1;
            flat += u32::from(report.is_flat());
        }
    }
    write_stdout(&format!("\nconditions={conditions} flat={flat}\n"))?;
    Ok(conditions == flat)
}

async fn hold(
    condition: Condition,
    system: &System,
    arguments: &HoldArguments,
    log: fn(&str),
) -> anyhow::Result<ConditionReport> {
    let name = condition.name();
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    load.wait_confirmed(1).await;
    system.wait_ready().await?;
    let mut sampler = Sampler::start(system).await?;
    sampler.sample().await?;
    let held = condition.impose(system).await?;
    log(&format!("begin: {name}"));
    let mut next = Instant::now();
    let end = next + Duration::from_secs_f64(arguments.minutes * 60.0);
    while next + SAMPLE_INTERVAL <= end {
        next += SAMPLE_INTERVAL;
        sleep_until(next).await;
        sampler.sample().await?;
    }
    sleep_until(end).await;
    drop(held);
    condition.lift(system).await?;
    log(&format!("end: {name}"));
    load.pause().await;
    system.wait_ready().await?;
    system.wait_until_quiescent().await?;
    Ok(sampler.report(name))
}
