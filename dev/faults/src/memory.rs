//! `stack memory`: whether the services' memory stays flat while the broker is away, and with a backlog.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::fault::QUEUES;
use crate::load::Load;
use crate::system::System;
use stack::resource_usage::resident_memory;
use stack::servers::Servers;
use stack::service::Program;
use stack::terminal::print_line;

/// What a service may need above its level after warm-up, in KiB.
const FLAT: u64 = 10 * 1024;

const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Watches the resident memory of the three services while the broker is away under load, and while a
/// backlog fills and drains each queue.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long the broker is away.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Registrations a second meanwhile.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How many messages wait in the outbox and then in each queue.
    #[arg(long, default_value_t = 200_000)]
    backlog: usize,
}

/// Prints a table; the exit status is 0 only if no service needed 10 MiB more than after warm-up.
///
/// # Errors
/// If the system does not start, or does not come to rest.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let directory = tempfile::tempdir().context("a directory for the servers")?;
    let mut servers = Servers::start(directory.path(), |line| print_line("memory", line)).await?;
    let system = System::start(&servers).await?;
    let watch = Watch::start(&system).await;

    print_line("memory", "warming up");
    register(&system, 10_000, 500).await?;
    system.at_rest().await?;
    let level = watch.peaks();

    print_line("memory", &format!("the broker is away for {} minutes", arguments.minutes));
    servers.broker.process.kill().await?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    sleep(Duration::from_secs_f64(arguments.minutes * 60.0)).await;
    load.pause().await;
    servers.broker.restart().await?;
    system.at_rest().await?;
    let away = watch.peaks();

    print_line("memory", &format!("a backlog of {} messages", arguments.backlog));
    let consumers = [Program::Transformer, Program::Marketing];
    for consumer in consumers {
        system.service(consumer).await.process.pause();
    }
    register(&system, arguments.backlog, 5_000).await?;
    for (consumer, queue) in consumers.into_iter().zip(QUEUES) {
        system.fills(&queue, arguments.backlog as u64).await?;
        system.service(consumer).await.process.resume();
    }
    system.at_rest().await?;
    let backlog = watch.peaks();

    println!("| KiB | after warm-up | broker away | backlog |\n| --- | ---: | ---: | ---: |");
    let mut flat = true;
    for (at, program) in Program::ALL.into_iter().enumerate() {
        let (level, away, backlog) = (level[at], away[at], backlog[at]);
        println!("| {} | {level} | {away} | {backlog} |", program.name());
        flat &= away.max(backlog) <= level + FLAT;
    }
    drop(system);
    servers.stop().await?;
    Ok(if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Registers so many people, as fast as it goes up to a rate, and waits for the last answer.
async fn register(system: &System, count: usize, rate: u32) -> Result<()> {
    let load = Load::start(system.url(Program::WebStore), rate)?;
    while load.told().len() < count {
        sleep(SAMPLE_EVERY).await;
    }
    load.pause().await;
    Ok(())
}

/// The most resident memory of each service, in KiB, looked at all the time.
struct Watch {
    peaks: Arc<Mutex<[u64; 3]>>,
    watching: JoinHandle<()>,
}

impl Watch {
    async fn start(system: &System) -> Self {
        let mut pids = [0; 3];
        for (pid, program) in pids.iter_mut().zip(Program::ALL) {
            *pid = system.service(program).await.process.pid();
        }
        let peaks = Arc::new(Mutex::new([0; 3]));
        let seen = Arc::clone(&peaks);
        let watching = tokio::spawn(async move {
            loop {
                for (peak, pid) in seen.lock().expect("no panic while it is held").iter_mut().zip(pids) {
                    *peak = (*peak).max(resident_memory(pid));
                }
                sleep(SAMPLE_EVERY).await;
            }
        });
        Self { peaks, watching }
    }

    /// The peaks since the last call.
    fn peaks(&self) -> [u64; 3] {
        std::mem::take(&mut *self.peaks.lock().expect("no panic while it is held"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
