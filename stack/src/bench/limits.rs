//! What the servers can do alone, each with a minimal client, on the tables and queues of the services.

mod broker;
mod mysql;
mod postgres;
mod queues;
mod steps;

use anyhow::Result;

use super::Bench;
use super::figures::Figures;
use super::pipeline::Pipeline;

const CLIENTS: u32 = 32;

pub(super) const POSTGRES: &str = "PostgreSQL alone, 32 clients: the statement of a registration";
pub(super) const TWO_QUEUES: &str = "RabbitMQ alone, two quorum queues in a row: messages";
pub(super) const STEPS: &str = "the servers' part of the way at 50/s: two publishes and two commits, p50";
const ONE_QUEUE: &str = "RabbitMQ alone, one quorum queue: messages";
const MYSQL: &str = "MySQL alone, one client, batches of 256: rows";

/// Takes them one after another, so that each has the machine for itself.
pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let site = Pipeline::prepared_site(&bench.servers).await?;
    let (scale, workers, addresses) = (&bench.scale, &bench.workers, site.addresses());
    let postgres_url = addresses.web_store_database_url("web_store");
    let mysql_url = addresses.marketing_database_url("marketing");
    let broker_url = addresses.broker_url("admin");

    let rate = workers.run(postgres::statements(postgres_url.clone(), CLIENTS, scale.time())).await?;
    figures.add(POSTGRES, "/s", rate);
    let rate = workers.run(queues::one(broker_url.clone(), scale.messages)).await?;
    figures.add(ONE_QUEUE, "/s", rate);
    let rate = workers.run(queues::two(broker_url.clone(), scale.messages)).await?;
    figures.add(TWO_QUEUES, "/s", rate);
    let rate = workers.run(mysql::batches(mysql_url.clone(), scale.time())).await?;
    figures.add(MYSQL, "/s", rate);

    let steps = steps::each_alone(postgres_url, broker_url, mysql_url, scale.time());
    let [statement, publish, commit] = workers.run(steps).await?;
    figures.add("PostgreSQL at 50/s: the statement of a registration, p50", "ms", statement);
    figures.add("RabbitMQ at 50/s: one publish, confirmed, p50", "ms", publish);
    figures.add("MySQL at 50/s: one row, committed, p50", "ms", commit);
    figures.add(STEPS, "ms", statement + 2.0 * publish + commit);
    Ok(())
}
