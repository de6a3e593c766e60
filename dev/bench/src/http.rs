//! Registrations accepted over HTTP and their response times, while the whole system runs.

use crate::{
    arrivals::Arrivals,
    context::Bench,
    figures::Figures,
    load::{Load, Until, quantile_ms},
    pipeline::Pipeline,
};

/// One visitor, enough to saturate the machine, and a crowd.
const CONNECTIONS: [usize; 3] = [1, 32, 256];

pub(crate) const AT_32: &str = "HTTP, 32 connections: registrations";

pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    for connections in CONNECTIONS {
        let arrivals = Arrivals::from_now(&pipeline.marketing_database).await?;
        let load = Load::new(pipeline.web_stores(), connections, Until::Elapsed(bench.scale.duration()));
        let mut outcome = bench.workers.run(load.run()).await?;
        let name = |figure: &str| match connections {
            1 => format!("HTTP, 1 connection: {figure}"),
            _ => format!("HTTP, {connections} connections: {figure}"),
        };
        let rate = f64::from(outcome.registered) / outcome.elapsed.as_secs_f64();
        figures.add(name("registrations"), "/s", rate);
        figures.add(name("answer, p50"), "ms", quantile_ms(&mut outcome.latencies, 500));
        figures.add(name("answer, p99"), "ms", quantile_ms(&mut outcome.latencies, 990));
        // The next number of connections starts on an idle system.
        arrivals.wait_for(outcome.registered, &outcome.last).await?;
    }
    Ok(())
}
