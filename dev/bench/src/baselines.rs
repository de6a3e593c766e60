//! The throughput of each server alone, with a minimal client, on the tables and queues of the services.

pub(crate) mod broker;
mod mysql;
mod postgres;
mod queues;
mod steps;

use crate::{
    context::Bench, disk::wait_until_disk_idle, figures::Figures, load::quantile_ms, pipeline::Pipeline,
};

const CLIENTS: usize = 32;

/// The Web Store inserts with two workers. With 32 simultaneous registrations, a batch has 16.
const BATCH_CLIENTS: usize = 2;
const BATCH: usize = CLIENTS / BATCH_CLIENTS;

pub(crate) const POSTGRES: &str = "PostgreSQL alone, 32 clients: registrations, one by one";
const POSTGRES_BATCHES: &str = "PostgreSQL alone, 2 clients: registrations, in batches of 16";
pub(crate) const TWO_QUEUES: &str = "RabbitMQ alone, two quorum queues in a row: messages";
pub(crate) const STEPS_P50: &str = "the servers' part of the way at 50/s: two publishes and two commits, p50";
pub(crate) const STEPS_P99: &str = "the servers' part of the way at 50/s: two publishes and two commits, p99";
const ONE_QUEUE: &str = "RabbitMQ alone, one quorum queue: messages";
const MYSQL: &str = "MySQL alone, one client, batches of 256: rows";

/// Measures one server after the other, so that each has the whole machine.
pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let environment = Pipeline::prepare_environment(&bench.servers).await?;
    let urls = environment.connection_urls();
    let Bench { scale, workers, .. } = bench;
    let postgres_url = urls.web_store_database_url("web_store");
    let broker_url = urls.broker_url("admin");

    for (name, clients, batch) in [(POSTGRES, CLIENTS, 1), (POSTGRES_BATCHES, BATCH_CLIENTS, BATCH)] {
        let inserts = postgres::insert_rate(postgres_url.clone(), clients, batch, scale.duration());
        figures.add(name, "/s", workers.run(inserts).await?);
    }
    let rate = workers.run(queues::one_queue_rate(broker_url.clone(), scale.messages)).await?;
    figures.add(ONE_QUEUE, "/s", rate);
    let rate = workers.run(queues::two_queues_rate(broker_url, scale.messages)).await?;
    figures.add(TWO_QUEUES, "/s", rate);
    let marketing_url = urls.marketing_database_url("marketing");
    let rate = workers.run(mysql::insert_rate(marketing_url, scale.duration())).await?;
    figures.add(MYSQL, "/s", rate);
    Ok(())
}

/// Measures the time of each server's steps alone, at 50 a second.
///
/// This is measured right before the latency that it is compared with: the time that an idle machine needs to
/// wake up changes within minutes.
pub(crate) async fn measure_steps(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let environment = Pipeline::prepare_environment(&bench.servers).await?;
    let urls = environment.connection_urls();
    wait_until_disk_idle(urls, bench.scale.idle_limit()).await?;
    let steps = steps::measure(
        urls.web_store_database_url("web_store"),
        urls.broker_url("admin"),
        urls.marketing_database_url("marketing"),
        bench.scale.latency_duration(),
    );
    let mut steps = bench.workers.run(steps).await?;
    let single_steps = [
        ("PostgreSQL at 50/s: one registration, committed, p50", &mut steps.registrations),
        ("RabbitMQ at 50/s: one publish, confirmed, p50", &mut steps.publishes),
        ("MySQL at 50/s: one row, committed, p50", &mut steps.rows),
    ];
    for (name, latencies) in single_steps {
        figures.add(name, "ms", quantile_ms(latencies, 500));
    }
    figures.add(STEPS_P50, "ms", quantile_ms(&mut steps.totals, 500));
    figures.add(STEPS_P99, "ms", quantile_ms(&mut steps.totals, 990));
    Ok(())
}
