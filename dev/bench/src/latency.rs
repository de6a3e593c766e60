//! The time from the response "registered" until the row in Marketing's table is visible.

use std::{thread::sleep, time::Duration};

use anyhow::ensure;
use sqlx::{Connection, MySqlConnection};
use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{
    arrivals::Arrivals,
    baselines,
    context::Bench,
    disk::wait_until_disk_idle,
    end_to_end,
    fake_customer::USUAL_NAME,
    figures::Figures,
    load::{Load, Registered, Until, quantile_ms},
    pipeline::Pipeline,
};

pub(crate) const P50_AT_50: &str = "registered to visible row, at 50/s: p50";
pub(crate) const P99_AT_50: &str = "registered to visible row, at 50/s: p99";

/// Registrations per second of a shop on an ordinary day.
pub(crate) const ORDINARY_RATE: f64 = 50.0;

/// Each poll for a row costs MySQL a little. At higher rates, only this many registrations per second are
/// observed.
const MAX_OBSERVED_RATE: f64 = 100.0;

/// Enough for either rate.
const CONNECTIONS: usize = 32;

const MIN_PAUSE: Duration = Duration::from_micros(50);
const MAX_PAUSE: Duration = Duration::from_millis(5);

const ARRIVAL_DEADLINE: Duration = Duration::from_mins(1);

pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    baselines::measure_steps(bench, figures).await?;
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    measure_at(bench, &pipeline, ORDINARY_RATE, "at 50/s", figures).await?;
    let saturation = match figures.latest(end_to_end::ROWS) {
        Some(rate) => rate,
        None => end_to_end::saturate(bench, &pipeline, USUAL_NAME).await?.rows_per_second,
    };
    measure_at(bench, &pipeline, saturation / 2.0, "at half of saturation", figures).await
}

async fn measure_at(
    bench: &Bench,
    pipeline: &Pipeline,
    rate: f64,
    rate_name: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    wait_until_disk_idle(pipeline.environment.connection_urls(), bench.scale.idle_limit()).await?;
    let mut latencies = observe(bench, pipeline, rate).await?;
    for (per_mille, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
        let name = format!("registered to visible row, {rate_name}: {name}");
        figures.add(name, "ms", quantile_ms(&mut latencies, per_mille));
    }
    Ok(())
}

/// Registers customers at a steady rate. Returns how long the rows of the observed ones took.
pub(crate) async fn observe(bench: &Bench, pipeline: &Pipeline, rate: f64) -> anyhow::Result<Vec<Duration>> {
    let arrivals = Arrivals::from_now(&pipeline.marketing_database).await?;
    let (sender, registered) = unbounded_channel();
    let one_in = (1..u32::MAX).find(|n| rate / f64::from(*n) <= MAX_OBSERVED_RATE).unwrap_or(1);
    let until = Until::Elapsed(bench.scale.latency_duration());
    let load = Load {
        rate: Some(rate),
        observer: Some((sender, one_in)),
        ..Load::new(pipeline.web_stores(), CONNECTIONS, until)
    };
    let url = pipeline.environment.connection_urls().marketing_database_url("marketing");
    let observing =
        bench.workers.run(async move { on_blocking_thread(poll_for_rows(url, registered)).await? });
    let (outcome, latencies) = tokio::try_join!(bench.workers.run(load.run()), observing)?;
    arrivals.wait_for(outcome.registered, &outcome.last).await?;
    Ok(latencies)
}

/// Runs a future that blocks its thread on a thread of its own.
fn on_blocking_thread<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> JoinHandle<anyhow::Result<T>> {
    spawn_blocking(|| Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Polls for the row of each customer until it is visible, and returns the latencies.
///
/// A latency includes the time of one query and at most one pause. The first poll waits for half of the
/// previous latency. Earlier polls would only take CPU time from the system.
async fn poll_for_rows(
    url: String,
    mut registered: UnboundedReceiver<Registered>,
) -> anyhow::Result<Vec<Duration>> {
    let mut database = MySqlConnection::connect(&url).await?;
    let mut waiting: Vec<Registered> = Vec::new();
    let mut latencies = Vec::new();
    loop {
        if waiting.is_empty() {
            let Some(next) = registered.recv().await else { return Ok(latencies) };
            let half = latencies.last().copied().unwrap_or_default() / 2;
            sleep(half.saturating_sub(next.1.elapsed()).min(MAX_PAUSE));
            waiting.push(next);
        }
        waiting.extend(std::iter::from_fn(|| registered.try_recv().ok()));
        let mut invisible = Vec::with_capacity(waiting.len());
        for (customer, responded) in waiting {
            let row = sqlx::query("SELECT 1 FROM customers WHERE customer_id = ?").bind(customer.to_string());
            if row.fetch_optional(&mut database).await?.is_some() {
                latencies.push(Instant::now() - responded);
            } else {
                ensure!(
                    responded.elapsed() < ARRIVAL_DEADLINE,
                    "a row has not arrived within {ARRIVAL_DEADLINE:?}"
                );
                invisible.push((customer, responded));
            }
        }
        waiting = invisible;
        pause(&waiting);
    }
}

/// Blocks the thread for a twentieth of the latest wait so far, which is then the error of a latency.
///
/// Without a pause, polling would take a whole CPU from the system. The timers of the async runtime have a
/// resolution of 1 ms only.
fn pause(waiting: &[Registered]) {
    if let Some((_, last)) = waiting.last() {
        sleep((last.elapsed() / 20).clamp(MIN_PAUSE, MAX_PAUSE));
    }
}
