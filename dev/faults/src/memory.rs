//! A memory run: samples the memory of the services without a broker and with a backlog.

use std::{
    fmt::{self, Display, Formatter},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use stack::{resource_usage::resident_memory, servers::Servers, service::Program};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    load::Load,
    system::{REGISTRATION_QUEUES, System},
};

/// The number of KiB by which a service may exceed its peak of the warm-up.
const MAX_GROWTH: u64 = 10 * 1024;

const WARM_UP_REGISTRATIONS: usize = 10_000;
const WARM_UP_RATE: u32 = 500;

/// Exceeds the throughput, so that the limit of simultaneous requests determines the rate.
const BACKLOG_RATE: u32 = 5_000;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Measures the resident memory of the services while the broker is unavailable, and with a backlog.
///
/// The exit status is 0 only if no service exceeds its peak of the warm-up by more than 10 MiB.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct MemoryArguments {
    /// Duration for which the broker is unavailable
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Registrations per second while the broker is unavailable
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Messages that accumulate in the outbox and then in each queue
    #[arg(long, default_value_t = 200_000)]
    backlog: usize,
}

/// The peak of resident memory of each service, in KiB, for each phase.
pub(crate) struct MemoryPeaks {
    warm_up: [u64; 3],
    unavailable: [u64; 3],
    backlog: [u64; 3],
}

/// Runs the three phases.
pub(crate) async fn run(
    mut servers: Servers,
    arguments: &MemoryArguments,
    log: impl Fn(&str),
) -> anyhow::Result<MemoryPeaks> {
    let system = System::start(&servers).await?;
    let sampler = Sampler::start(&system).await;

    log("warm-up");
    register(&system, WARM_UP_REGISTRATIONS, WARM_UP_RATE).await?;
    system.wait_until_quiescent().await?;
    let warm_up = sampler.take_peaks();

    log(&format!("the broker is unavailable for {} minutes", arguments.minutes));
    servers.broker.process.kill().await?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    sleep(Duration::from_secs_f64(arguments.minutes * 60.0)).await;
    load.pause().await;
    servers.broker.restart().await?;
    system.wait_until_quiescent().await?;
    let unavailable = sampler.take_peaks();

    log(&format!("a backlog of {} messages", arguments.backlog));
    let consumers = [Program::Transformer, Program::Marketing];
    for consumer in consumers {
        system.service(consumer).await.process.pause();
    }
    register(&system, arguments.backlog, BACKLOG_RATE).await?;
    for (consumer, queue) in consumers.into_iter().zip(REGISTRATION_QUEUES) {
        system.wait_for_depth(&queue, arguments.backlog as u64).await?;
        system.service(consumer).await.process.resume();
    }
    system.wait_until_quiescent().await?;
    let backlog = sampler.take_peaks();

    drop(system);
    servers.stop().await?;
    Ok(MemoryPeaks { warm_up, unavailable, backlog })
}

/// Registers at least `count` customers, and waits for all responses.
async fn register(system: &System, count: usize, rate: u32) -> anyhow::Result<()> {
    let load = Load::start(system.url(Program::WebStore), rate)?;
    load.wait_confirmed(count).await;
    load.pause().await;
    Ok(())
}

impl MemoryPeaks {
    /// Returns whether no service exceeds its peak of the warm-up by more than [`MAX_GROWTH`].
    pub(crate) fn are_flat(&self) -> bool {
        let later = self.unavailable.iter().zip(&self.backlog).map(|(a, b)| a.max(b));
        self.warm_up.iter().zip(later).all(|(warm_up, later)| *later <= warm_up + MAX_GROWTH)
    }
}

impl Display for MemoryPeaks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { warm_up, unavailable, backlog } = self;
        writeln!(f, "| KiB | after warm-up | broker unavailable | backlog |\n| --- | ---: | ---: | ---: |")?;
        for (n, program) in Program::ALL.into_iter().enumerate() {
            writeln!(f, "| {} | {} | {} | {} |", program.name(), warm_up[n], unavailable[n], backlog[n])?;
        }
        Ok(())
    }
}

/// Samples the resident memory of the services. Dropping it ends the sampling.
struct Sampler {
    peaks: Arc<Mutex<[u64; 3]>>,
    task: JoinHandle<()>,
}

impl Sampler {
    async fn start(system: &System) -> Self {
        let mut pids = [0; 3];
        for (pid, program) in pids.iter_mut().zip(Program::ALL) {
            *pid = system.service(program).await.process.pid();
        }
        let peaks = Arc::new(Mutex::new([0; 3]));
        let task = tokio::spawn({
            let peaks = Arc::clone(&peaks);
            async move {
                loop {
                    for (peak, pid) in lock(&peaks).iter_mut().zip(pids) {
                        *peak = (*peak).max(resident_memory(pid));
                    }
                    sleep(SAMPLE_INTERVAL).await;
                }
            }
        });
        Self { peaks, task }
    }

    /// Returns the peaks since the previous call.
    fn take_peaks(&self) -> [u64; 3] {
        std::mem::take(&mut *lock(&self.peaks))
    }
}

fn lock(peaks: &Mutex<[u64; 3]>) -> MutexGuard<'_, [u64; 3]> {
    peaks.lock().expect("no thread panics while it holds this lock")
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}
