//! `stack bench`: what the system does in a second, and at what cost, next to what its servers can do alone.

mod arrivals;
mod baselines;
mod connection;
mod disk;
mod drain;
mod end_to_end;
mod fake_customer;
mod figures;
mod http;
mod latency;
mod load;
mod measurement;
mod pipeline;
mod report;
mod scale;
mod scaling;
mod start;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use rustix::process::getpid;
use tokio::time::Instant;

use arrivals::Arrivals;
use figures::Figures;
use load::{Load, Until};
pub use measurement::Measurement;
use pipeline::Pipeline;
pub use report::Report;
pub use scale::Scale;
use stack::resource_usage::{cpu_time_with_children, machine_cpu_time};
use stack::servers::Servers;
use stack::stop_signal::StopSignal;
use workers::Workers;

/// Measures the system on servers of its own, next to what these servers can do alone.
///
/// Servers, services and load share this machine, which should do nothing else meanwhile. The table goes to
/// standard output, the progress to standard error. The largest table takes some GiB below `--dir`.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Arguments {
    /// Measurement to measure; all of it if nothing is named.
    what: Vec<Measurement>,
    /// How often each figure is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Below this directory the servers get a new one of their own. It has to be on a disk: in memory,
    /// commits cost nothing.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    #[command(flatten)]
    scale: Scale,
}

/// Prints the figures.
///
/// # Errors
/// If something does not start or breaks, or somebody who was registered does not arrive exactly once.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let in_directory = || format!("a directory in {}", arguments.dir.display());
    fs::create_dir_all(&arguments.dir).with_context(in_directory)?;
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&arguments.dir);
    let directory = directory.with_context(in_directory)?;
    let report = tokio::select! {
        report = measure(arguments, directory.path()) => report?,
        () = stop.wait() => return Ok(ExitCode::FAILURE),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Measurement every measurement works with.
struct Bench {
    servers: Servers,
    workers: Workers,
    wanted: Vec<Measurement>,
    runs: u32,
    scale: Scale,
}

async fn measure(arguments: &Arguments, directory: &Path) -> Result<Report> {
    let (began, busy) = (Instant::now(), machine_cpu_time());
    let before = cpu_time_with_children(own_pid());
    let servers = Servers::start(directory, tell).await?;
    let Arguments { what, runs, scale, .. } = arguments;
    let (wanted, scale) = (what.clone(), scale.clone());
    let mut bench = Bench { servers, workers: Workers::start()?, wanted, runs: *runs, scale };
    let mut figures = Figures::default();
    // Run by run, so that a moment of noise hits all figures alike, and shows.
    for run in 1..=*runs {
        for what in Measurement::each_run(&bench.wanted) {
            tell(&format!("{:4} s  run {run} of {runs}: {what}", began.elapsed().as_secs()));
            what.measure(&bench, &mut figures).await.with_context(|| what.to_string())?;
        }
    }
    if Measurement::Table.is_in(&bench.wanted) {
        tell(&format!("{:4} s  all runs: {}", began.elapsed().as_secs(), Measurement::Table));
        Measurement::Table.measure(&bench, &mut figures).await.context("table")?;
    }
    bench.servers.stop().await?;
    let (elapsed, cpus) = (began.elapsed(), std::thread::available_parallelism()?.get());
    // Measurement has ended by now is counted with this process.
    let own = cpu_time_with_children(own_pid()).saturating_sub(before);
    let others = machine_cpu_time().saturating_sub(busy).saturating_sub(own);
    Ok(Report {
        cpus,
        taken_by_others: others.as_secs_f64() / elapsed.as_secs_f64() / f64::from(u32::try_from(cpus)?),
        optimised: !cfg!(debug_assertions),
        ratios: measurement::ratios(&figures, &bench.scale),
        figures: figures.summaries(),
    })
}

impl Bench {
    /// Connections are open then, statements prepared, memory is taken.
    async fn warm_up(&self, pipeline: &Pipeline) -> Result<()> {
        let arrivals = Arrivals::from_now(&pipeline.rows).await?;
        let until = Until::Registered(self.scale.registrations.div_ceil(20));
        let done = self.workers.run(Load::new(pipeline.web_stores(), 32, until).run()).await?;
        arrivals.wait_for(done.registered, &done.last).await
    }
}

fn tell(line: &str) {
    eprintln!("bench: {line}");
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}
