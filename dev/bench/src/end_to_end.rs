//! The whole way at saturation: rows a second, and what each registration costs.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Bench;
use super::arrivals::Arrivals;
use super::fake_customer::USUAL_NAME;
use super::figures::Figures;
use super::load::{Load, Until};
use super::pipeline::Pipeline;
use stack::resource_usage::{cpu_time, cpu_time_with_children};
use stack::service::Program;

pub(super) const ROWS: &str = "end to end, 32 connections: rows";

const CONNECTIONS: usize = 32;

/// Everything that takes CPU time for a registration.
const PARTIES: [&str; 7] =
    ["web-store", "transformer", "marketing", "PostgreSQL", "RabbitMQ", "MySQL", "the load and this program"];

/// Measurement came of one run.
pub(super) struct Saturated {
    /// From the first request to the last row.
    pub(super) rows_per_second: f64,
    /// µs of each party's CPU time.
    per_registration: [f64; PARTIES.len()],
}

pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    let saturated = saturate(bench, &pipeline, USUAL_NAME).await?;
    figures.add(ROWS, "/s", saturated.rows_per_second);
    let ours: f64 = saturated.per_registration[..Program::ALL.len()].iter().sum();
    figures.add("CPU per registration: our three processes", "µs", ours);
    for (party, cpu) in PARTIES.into_iter().zip(saturated.per_registration) {
        figures.add(format!("CPU per registration: {party}"), "µs", cpu);
    }
    for program in Program::ALL {
        let name = format!("peak memory at saturation: {}", program.name());
        figures.add(name, "MiB", pipeline.peak_memory(program));
    }
    figures.add("peak memory at saturation: all three", "MiB", pipeline.peak_memory_of_all());
    Ok(())
}

/// Registers people as fast as answers come, and waits for the last row.
pub(super) async fn saturate(
    bench: &Bench,
    pipeline: &Pipeline,
    name_characters: usize,
) -> Result<Saturated> {
    let arrivals = Arrivals::from_now(&pipeline.rows).await?;
    let until = Until::Registered(bench.scale.registrations);
    let load = Load { name_characters, ..Load::new(pipeline.web_stores(), CONNECTIONS, until) };
    let (began, before) = (Instant::now(), cpu(bench, pipeline));
    let done = bench.workers.run(load.run()).await?;
    arrivals.wait_for(done.registered, &done.last).await?;
    let (elapsed, after) = (began.elapsed(), cpu(bench, pipeline));
    let registered = f64::from(done.registered);
    Ok(Saturated {
        rows_per_second: registered / elapsed.as_secs_f64(),
        per_registration: std::array::from_fn(|party| {
            after[party].saturating_sub(before[party]).as_secs_f64() * 1e6 / registered
        }),
    })
}

/// In the order of [`PARTIES`].
fn cpu(bench: &Bench, pipeline: &Pipeline) -> [Duration; PARTIES.len()] {
    let servers = &bench.servers;
    let [web_store, transformer, marketing] = Program::ALL.map(|program| pipeline.cpu(program));
    let [postgres, broker, mysql] =
        [&servers.postgres.process, &servers.broker.process, &servers.mysql.process]
            .map(|server| cpu_time_with_children(server.pid()));
    [web_store, transformer, marketing, postgres, broker, mysql, cpu_time(super::own_pid())]
}
