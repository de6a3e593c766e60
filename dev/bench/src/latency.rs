//! How long it takes from the answer "registered" to a row that others can see.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::{Connection, MySqlConnection};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::Bench;
use super::arrivals::Arrivals;
use super::baselines;
use super::disk::wait_until_idle;
use super::end_to_end;
use super::fake_customer::USUAL_NAME;
use super::figures::Figures;
use super::load::{Answered, Load, Until, quantile};
use super::pipeline::Pipeline;

pub(super) const P50_AT_50: &str = "registered to visible row, at 50/s: p50";
pub(super) const P99_AT_50: &str = "registered to visible row, at 50/s: p99";

/// Registrations a second of a shop on an ordinary day.
const FEW: f64 = 50.0;

/// Looking for a row costs MySQL a little, so of more registrations a second only so many are looked for.
const WATCHED: f64 = 100.0;

/// Enough for either rate.
const CONNECTIONS: usize = 32;

const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

const ARRIVED: Duration = Duration::from_mins(1);

pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    baselines::steps_alone(bench, figures).await?;
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    figure(bench, &pipeline, FEW, "at 50/s", figures).await?;
    let saturation = match figures.newest(end_to_end::ROWS) {
        Some(rate) => rate,
        None => end_to_end::saturate(bench, &pipeline, USUAL_NAME).await?.rows_per_second,
    };
    figure(bench, &pipeline, saturation / 2.0, "at half of saturation", figures).await
}

async fn figure(
    bench: &Bench,
    pipeline: &Pipeline,
    rate: f64,
    at: &str,
    figures: &mut Figures,
) -> Result<()> {
    wait_until_idle(pipeline.site.addresses()).await?;
    let mut latencies = watch(bench, pipeline, rate).await?;
    for (quantile_of_1000, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
        let name = format!("registered to visible row, {at}: {name}");
        figures.add(name, "ms", quantile(&mut latencies, quantile_of_1000));
    }
    Ok(())
}

/// Registers people at a steady rate; how long it took until their rows were visible.
async fn watch(bench: &Bench, pipeline: &Pipeline, rate: f64) -> Result<Vec<Duration>> {
    let arrivals = Arrivals::from_now(&pipeline.rows).await?;
    let (answered, to_see) = unbounded_channel();
    let one_in = (1..u32::MAX).find(|one_in| rate / f64::from(*one_in) <= WATCHED).unwrap_or(1);
    let until = Until::Elapsed(bench.scale.latency_time());
    let load = Load {
        rate: Some(rate),
        watch: Some((answered, one_in)),
        ..Load::new(pipeline.web_stores(), CONNECTIONS, until)
    };
    let url = pipeline.site.addresses().marketing_database_url("marketing");
    let watching = bench.workers.run(async move { on_a_thread_of_its_own(see(url, to_see)).await? });
    let (done, latencies) = tokio::try_join!(bench.workers.run(load.run()), watching)?;
    arrivals.wait_for(done.registered, &done.last).await?;
    Ok(latencies)
}

/// For what blocks its thread.
fn on_a_thread_of_its_own<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> JoinHandle<Result<T>> {
    spawn_blocking(|| Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Asks for the row of each customer again and again until it is there. So a latency holds the time of one
/// query, and up to that of a pause. The first question waits for half of what the last row took: those asked in
/// vain keep MySQL and a CPU from what is measured.
async fn see(url: String, mut answered: UnboundedReceiver<Answered>) -> Result<Vec<Duration>> {
    let mut database = MySqlConnection::connect(&url).await?;
    let (mut waiting, mut latencies): (Vec<Answered>, _) = (Vec::new(), Vec::new());
    loop {
        if waiting.is_empty() {
            let Some(next) = answered.recv().await else { return Ok(latencies) };
            waiting.push(next);
            let half = latencies.last().copied().unwrap_or_default() / 2;
            sleep(half.saturating_sub(next.1.elapsed()).min(LONGEST_PAUSE));
        }
        waiting.extend(std::iter::from_fn(|| answered.try_recv().ok()));
        let mut unseen = Vec::with_capacity(waiting.len());
        for (customer, told) in waiting {
            let row = sqlx::query("SELECT 1 FROM customers WHERE customer_id = ?").bind(customer.to_string());
            if row.fetch_optional(&mut database).await?.is_some() {
                latencies.push(Instant::now() - told);
            } else {
                ensure!(told.elapsed() < ARRIVED, "a row is not there after {ARRIVED:?}");
                unseen.push((customer, told));
            }
        }
        waiting = unseen;
        pause(&waiting);
    }
}

/// Asking without a pause would take a whole CPU from what is measured. A twentieth of the wait so far blurs a
/// latency by as much; the timers of an async runtime know milliseconds only, so this blocks.
fn pause(waiting: &[Answered]) {
    if let Some((_, last)) = waiting.last() {
        sleep((last.elapsed() / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }
}
