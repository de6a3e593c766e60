//! Runs the selected measurements on private servers, and prints the report.

use std::{fs, path::Path, process::ExitCode, thread::available_parallelism};

use anyhow::Context;
use stack::{
    resource_usage::{cpu_time_with_children, machine_cpu_time},
    servers::Servers,
    stop_signal::StopSignal,
};
use tokio::time::Instant;

use crate::{
    arguments::Arguments,
    baselines,
    context::{Bench, own_pid},
    drain, end_to_end,
    figures::Figures,
    http, latency,
    measurement::Measurement,
    page,
    ratios::ratios,
    replay, replicas,
    report::Report,
    scaling, start,
    workers::Workers,
};

/// Runs the measurements and prints the report.
///
/// # Errors
/// Returns an error if a server or service does not start. Returns an error if a registered customer does not
/// become exactly one row.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignal::listen()?;
    let context = || format!("cannot create a directory in {}", arguments.dir.display());
    fs::create_dir_all(&arguments.dir).with_context(context)?;
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&arguments.dir);
    let directory = directory.with_context(context)?;
    let report = tokio::select! {
        report = measure(arguments, directory.path()) => report?,
        () = stop.wait() => return Ok(ExitCode::FAILURE),
    };
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        report.to_string()
    };
    service_kit::write_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Report> {
    let began = Instant::now();
    let machine_before = machine_cpu_time();
    let own_before = cpu_time_with_children(own_pid());
    let Arguments { measurements, runs, scale, .. } = arguments;
    let mut bench = Bench {
        servers: Servers::start(directory, log_progress).await?,
        workers: Workers::start()?,
        selected: measurements.clone(),
        runs: *runs,
        scale: scale.clone(),
    };
    let mut figures = Figures::default();
    // Each run has all measurements, so that a disturbance affects all figures equally and is visible.
    for run in 1..=*runs {
        for measurement in Measurement::in_each_run(&bench.selected) {
            log_progress(&format!("{:4} s  run {run} of {runs}: {measurement}", began.elapsed().as_secs()));
            execute(measurement, &bench, &mut figures).await.with_context(|| measurement.to_string())?;
        }
    }
    if Measurement::Table.is_selected(&bench.selected) {
        log_progress(&format!("{:4} s  all runs: {}", began.elapsed().as_secs(), Measurement::Table));
        execute(Measurement::Table, &bench, &mut figures).await.context("table")?;
    }
    bench.servers.stop().await?;
    let elapsed = began.elapsed();
    let cpus = available_parallelism()?.get();
    // The CPU time of this process now includes all children, because they have ended.
    let own = cpu_time_with_children(own_pid()).saturating_sub(own_before);
    let others = machine_cpu_time().saturating_sub(machine_before).saturating_sub(own);
    Ok(Report {
        cpus,
        taken_by_others: others.as_secs_f64() / elapsed.as_secs_f64() / f64::from(u32::try_from(cpus)?),
        optimized: !cfg!(debug_assertions),
        ratios: ratios(&figures, &bench.scale),
        figures: figures.summaries(),
    })
}

/// Executes one run of a measurement. For [`Measurement::Table`], executes all runs.
async fn execute(measurement: Measurement, bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    match measurement {
        Measurement::Baselines => baselines::measure(bench, figures).await,
        Measurement::Http => http::measure(bench, figures).await,
        Measurement::EndToEnd => end_to_end::measure(bench, figures).await,
        Measurement::Drain => drain::measure(bench, bench.scale.waiting, figures).await,
        Measurement::Latency => latency::measure(bench, figures).await,
        Measurement::Start => start::measure(bench, figures).await,
        Measurement::Backlog => scaling::measure_backlogs(bench, figures).await,
        Measurement::Replicas => replicas::measure(bench, figures).await,
        Measurement::Replay => replay::measure(bench, figures).await,
        Measurement::Payload => scaling::measure_payloads(bench, figures).await,
        Measurement::Page => page::measure(bench, figures).await,
        Measurement::Table => scaling::measure_tables(bench, figures).await,
    }
}

fn log_progress(line: &str) {
    eprintln!("bench: {line}");
}
