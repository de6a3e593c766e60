//! Measurement people notice: registrations accepted, and how long each takes, while the whole system runs.

use anyhow::Result;

use super::Bench;
use super::arrivals::Arrivals;
use super::figures::Figures;
use super::load::{Load, Until, quantile};
use super::pipeline::Pipeline;

/// One visitor, what saturates the machine, and a crowd.
const CONNECTIONS: [usize; 3] = [1, 32, 256];

pub(super) const AT_32: &str = "HTTP, 32 connections: registrations";

pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    for connections in CONNECTIONS {
        let arrivals = Arrivals::from_now(&pipeline.rows).await?;
        let load = Load::new(pipeline.web_stores(), connections, Until::Elapsed(bench.scale.time()));
        let mut done = bench.workers.run(load.run()).await?;
        let name = |what: &str| match connections {
            1 => format!("HTTP, 1 connection: {what}"),
            _ => format!("HTTP, {connections} connections: {what}"),
        };
        let rate = f64::from(done.registered) / done.elapsed.as_secs_f64();
        figures.add(name("registrations"), "/s", rate);
        figures.add(name("answer, p50"), "ms", quantile(&mut done.latencies, 500));
        figures.add(name("answer, p99"), "ms", quantile(&mut done.latencies, 990));
        // Measurement the next ones meet is a system at rest.
        arrivals.wait_for(done.registered, &done.last).await?;
    }
    Ok(())
}
