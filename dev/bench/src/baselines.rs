//! Measurement the servers can do alone, each with a minimal client, on the tables and queues of the services.

mod broker;
mod mysql;
mod postgres;
mod queues;
mod steps;

use anyhow::Result;

use super::Bench;
use super::disk::wait_until_idle;
use super::figures::Figures;
use super::load::quantile;
use super::pipeline::Pipeline;

const CLIENTS: usize = 32;

/// As the Web Store does when so many register at once.
const BATCH_CLIENTS: usize = 2;
const BATCH: usize = CLIENTS / BATCH_CLIENTS;

pub(super) const POSTGRES: &str = "PostgreSQL alone, 32 clients: registrations, one by one";
const POSTGRES_BATCHES: &str = "PostgreSQL alone, 2 clients: registrations, in batches of 16";
pub(super) const TWO_QUEUES: &str = "RabbitMQ alone, two quorum queues in a row: messages";
pub(super) const STEPS: &str = "the servers' part of the way at 50/s: two publishes and two commits, p50";
pub(super) const STEPS_P99: &str = "the servers' part of the way at 50/s: two publishes and two commits, p99";
const ONE_QUEUE: &str = "RabbitMQ alone, one quorum queue: messages";
const MYSQL: &str = "MySQL alone, one client, batches of 256: rows";

/// Takes them one after another, so that each has the machine for itself.
pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let site = Pipeline::prepared_site(&bench.servers).await?;
    let (scale, workers, addresses) = (&bench.scale, &bench.workers, site.addresses());
    let postgres_url = addresses.web_store_database_url("web_store");
    let broker_url = addresses.broker_url("admin");

    for (name, clients, batch) in [(POSTGRES, CLIENTS, 1), (POSTGRES_BATCHES, BATCH_CLIENTS, BATCH)] {
        let statements = postgres::statements(postgres_url.clone(), clients, batch, scale.time());
        figures.add(name, "/s", workers.run(statements).await?);
    }
    let rate = workers.run(queues::one(broker_url.clone(), scale.messages)).await?;
    figures.add(ONE_QUEUE, "/s", rate);
    let rate = workers.run(queues::two(broker_url, scale.messages)).await?;
    figures.add(TWO_QUEUES, "/s", rate);
    let rate =
        workers.run(mysql::batches(addresses.marketing_database_url("marketing"), scale.time())).await?;
    figures.add(MYSQL, "/s", rate);
    Ok(())
}

/// The time of one of each at 50 a second. It is taken next to the latency that it is compared with, since the
/// time that an idle machine takes to wake up changes within minutes.
pub(super) async fn steps_alone(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let site = Pipeline::prepared_site(&bench.servers).await?;
    let addresses = site.addresses();
    wait_until_idle(addresses).await?;
    let steps = steps::each_alone(
        addresses.web_store_database_url("web_store"),
        addresses.broker_url("admin"),
        addresses.marketing_database_url("marketing"),
        bench.scale.latency_time(),
    );
    let mut steps = bench.workers.run(steps).await?;
    let each = [
        ("PostgreSQL at 50/s: one registration, committed, p50", &mut steps.statements),
        ("RabbitMQ at 50/s: one publish, confirmed, p50", &mut steps.publishes),
        ("MySQL at 50/s: one row, committed, p50", &mut steps.commits),
    ];
    for (name, latencies) in each {
        figures.add(name, "ms", quantile(latencies, 500));
    }
    figures.add(STEPS, "ms", quantile(&mut steps.all, 500));
    figures.add(STEPS_P99, "ms", quantile(&mut steps.all, 990));
    Ok(())
}
