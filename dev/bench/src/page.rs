//! The response time of the console's page, with an empty outbox and with the largest backlog.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use system_tests::{SOON, TestEnvironment, eventually, operator::Operator};
use tokio::time::{Instant, sleep};

use crate::{
    context::Bench, drain::fill, figures::Figures, load::quantile_ms, pipeline::Pipeline,
    report::group_thousands,
};

/// The requests of one run.
const REQUESTS: u32 = 200;

/// The pause between two requests. The console reads its servers once a second, so the requests meet these readings.
const PAUSE: Duration = Duration::from_millis(25);

pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    // The services have ended, so the events wait.
    let environment = Pipeline::prepare_environment(&bench.servers).await?;
    measure_with(&environment, 0, figures).await?;
    let url = environment.connection_urls().web_store_database_url("web_store");
    let mut database = PgConnection::connect(&url).await?;
    let waiting = bench.scale.largest_backlog;
    fill(&mut database, waiting).await?;
    measure_with(&environment, waiting, figures).await
}

async fn measure_with(
    environment: &TestEnvironment,
    waiting: u32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let console = environment.start_console_page(&[]).await?;
    let operator = Operator::log_in_to_console(&console, "bench").await?;
    let is_read = async || {
        let picture = operator.read("/").await.ok()?;
        let has_outbox = picture.contains("registered per second");
        (has_outbox && picture.contains("oldest") == (waiting > 0)).then_some(())
    };
    eventually(SOON, "the picture has the outbox", is_read).await?;
    let mut latencies = Vec::new();
    for _ in 0..REQUESTS {
        let began = Instant::now();
        operator.read("/").await?;
        latencies.push(began.elapsed());
        sleep(PAUSE).await;
    }
    let waiting = group_thousands(&waiting.to_string());
    for (name, quantile) in [("p50", 500), ("p95", 950)] {
        let name = format!("the console's page, {waiting} waiting events: response, {name}");
        figures.add(name, "ms", quantile_ms(&mut latencies, quantile));
    }
    Ok(())
}
