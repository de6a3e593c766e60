//! The whole system at saturation: rows per second, and the CPU time and memory that they need.

use std::{ops::Range, time::Duration};

use stack::{
    resource_usage::{cpu_time, cpu_time_with_children},
    service::Program,
};
use tokio::time::Instant;

use crate::{
    arrivals::Arrivals,
    context::{Bench, own_pid},
    fake_customer::USUAL_NAME,
    figures::Figures,
    load::{Load, Until},
    pipeline::Pipeline,
};

pub(crate) const ROWS: &str = "end to end, 32 connections: rows";

const CONNECTIONS: usize = 32;

/// Everything that uses CPU time for a registration. The services come first.
const CONSUMERS: [&str; 7] =
    ["web-store", "transformer", "marketing", "PostgreSQL", "RabbitMQ", "MySQL", "the load and this program"];

/// The servers among [`CONSUMERS`].
const SERVERS: Range<usize> = 3..6;

/// The result of one run.
pub(crate) struct Saturated {
    /// From the first request to the last row.
    pub(crate) rows_per_second: f64,
    /// µs of CPU time, in the order of [`CONSUMERS`].
    cpu_per_registration: [f64; CONSUMERS.len()],
}

impl Saturated {
    /// Returns the number of CPUs that each consumer kept busy on average.
    pub(crate) fn busy_cores(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let cores = self.cpu_per_registration.map(|microseconds| microseconds * self.rows_per_second / 1e6);
        CONSUMERS.into_iter().zip(cores)
    }

    /// Returns whether a consumer of [`Saturated::busy_cores`] is a server.
    pub(crate) fn is_server(consumer: &str) -> bool {
        CONSUMERS[SERVERS].contains(&consumer)
    }
}

pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    let saturated = saturate(bench, &pipeline, USUAL_NAME).await?;
    figures.add(ROWS, "/s", saturated.rows_per_second);
    let services: f64 = saturated.cpu_per_registration[..Program::ALL.len()].iter().sum();
    figures.add("CPU per registration: our three processes", "µs", services);
    for (consumer, cpu) in CONSUMERS.into_iter().zip(saturated.cpu_per_registration) {
        figures.add(format!("CPU per registration: {consumer}"), "µs", cpu);
    }
    for program in Program::ALL {
        let name = format!("peak memory at saturation: {}", program.name());
        figures.add(name, "MiB", pipeline.peak_memory(program));
    }
    figures.add("peak memory at saturation: all three", "MiB", pipeline.total_peak_memory());
    Ok(())
}

/// Registers customers at the maximum rate, and waits for the last row.
pub(crate) async fn saturate(
    bench: &Bench,
    pipeline: &Pipeline,
    name_characters: usize,
) -> anyhow::Result<Saturated> {
    let arrivals = Arrivals::from_now(&pipeline.marketing_database).await?;
    let until = Until::Registered(bench.scale.registrations);
    let load = Load { name_characters, ..Load::new(pipeline.web_stores(), CONNECTIONS, until) };
    let began = Instant::now();
    let cpu_before = cpu_times(bench, pipeline);
    let outcome = bench.workers.run(load.run()).await?;
    arrivals.wait_for(outcome.registered, &outcome.last).await?;
    let elapsed = began.elapsed();
    let cpu_after = cpu_times(bench, pipeline);
    let registered = f64::from(outcome.registered);
    Ok(Saturated {
        rows_per_second: registered / elapsed.as_secs_f64(),
        cpu_per_registration: std::array::from_fn(|consumer| {
            let used = cpu_after[consumer].saturating_sub(cpu_before[consumer]);
            used.as_secs_f64() * 1e6 / registered
        }),
    })
}

/// Returns the CPU times so far, in the order of [`CONSUMERS`].
fn cpu_times(bench: &Bench, pipeline: &Pipeline) -> [Duration; CONSUMERS.len()] {
    let servers = &bench.servers;
    let [web_store, transformer, marketing] = Program::ALL.map(|program| pipeline.cpu_time(program));
    let [postgres, broker, mysql] =
        [&servers.postgres.process, &servers.broker.process, &servers.mysql.process]
            .map(|server| cpu_time_with_children(server.pid()));
    [web_store, transformer, marketing, postgres, broker, mysql, cpu_time(own_pid())]
}
