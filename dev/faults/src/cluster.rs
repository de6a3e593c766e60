//! A cluster of three brokers that loses nodes, under load.

mod nodes;
mod report;
mod steps;

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use contracts::topology::QUEUES;
use reconciliation::reconcile;
use service_kit::write_stdout;
use stack::{broker::Broker, servers::Servers, service::Program};
use system_tests::{SOON, TestEnvironment, eventually, reconciliation_sources};

use self::{
    nodes::{NODES, Nodes},
    report::Report,
};
use crate::{
    customers::Customers,
    load::Load,
    system::{Setting, System},
};

/// Takes the nodes of a cluster of three brokers away, and brings them back
///
/// Customers register at a constant rate. Each node is killed in turn, then two nodes simultaneously. Then one node is cut
/// off the others. Finally each node is drained and restarted, as for an upgrade. The services have the addresses of all
/// nodes. The exit status is 0 only if no registration is refused, no customer is lost or duplicated, and no service
/// requests a replay.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ClusterArguments {
    /// Registrations per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Seconds for which each state lasts at least
    #[arg(long, default_value_t = 20.0)]
    seconds_per_step: f64,
}

/// The cluster under load.
struct Cluster {
    nodes: Nodes,
    system: System,
    load: Load,
    pause: Duration,
    log: fn(&str),
    report: Report,
}

/// Makes the proof, and prints a table of its steps and its result. Returns whether it passed.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the system does not recover from a step.
pub(crate) async fn run(
    servers: Servers,
    directory: &Path,
    arguments: ClusterArguments,
    log: fn(&str),
) -> anyhow::Result<bool> {
    let environment = TestEnvironment::on(&servers).await?;
    // The databases run until the end.
    let Servers { postgres: _postgres, mysql: _mysql, broker, marketing_broker: _ } = servers;
    let nodes = start_nodes(broker, directory, log).await?;
    let system = start_system(environment, &nodes).await?;
    let requested_before = system.requested_replays().await?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    let pause = Duration::from_secs_f64(arguments.seconds_per_step);
    let mut cluster = Cluster { nodes, system, load, pause, log, report: Report::default() };
    cluster.load.wait_confirmed(1).await;
    Box::pin(cluster.take_steps()).await?;

    let Cluster { nodes, system, load, mut report, .. } = cluster;
    load.pause().await;
    system.wait_until_quiescent().await?;
    system.wait_ready().await.context("after all steps")?;
    let mut sources = reconciliation_sources(system.environment.connection_urls())?;
    let urls = nodes.urls(&system.environment, "console");
    sources.connections.brokers.broker_url = urls.parse().map_err(anyhow::Error::msg)?;
    let reconciled = Box::pin(reconcile(&sources)).await?;
    ensure!(reconciled.is_consistent(), "the applications differ:\n{reconciled}");
    let customers =
        Customers::read(&system.web_store_database, &system.marketing_database, load.confirmed()).await?;
    report.registered = customers.stored.len();
    report.marketing = customers.rows;
    report.lost = customers.lost();
    report.duplicated = customers.duplicated();
    report.refused = load.refused();
    report.replays = system.requested_replays().await? - requested_before;
    write_stdout(&format!("\n{report}\n"))?;
    Ok(report.is_clean())
}

async fn start_nodes(first: Broker, directory: &Path, log: fn(&str)) -> anyhow::Result<Nodes> {
    let second = first.start_peer(&directory.join("broker-2")).await?;
    let third = first.start_peer(&directory.join("broker-3")).await?;
    let nodes = Nodes([first, second, third]);
    log(&format!("the cluster has the nodes {}", nodes.names().join(", ")));
    Ok(nodes)
}

/// Starts the services with the addresses of all nodes.
async fn start_system(environment: TestEnvironment, nodes: &Nodes) -> anyhow::Result<System> {
    let setting = |program, variable, user: &str| -> Setting {
        (variable, Some(program), nodes.urls(&environment, user))
    };
    let settings = [
        setting(Program::WebStore, "WEB_STORE_BROKER_URL", "web-store"),
        setting(Program::Transformer, "TRANSFORMER_SOURCE_BROKER_URL", "transformer"),
        setting(Program::Transformer, "TRANSFORMER_TARGET_BROKER_URL", "transformer"),
        setting(Program::Marketing, "MARKETING_BROKER_URL", "marketing"),
    ];
    let system = System::start_in(environment, &settings).await?;
    let management = system.environment.management();
    eventually(SOON, "every queue has a member on each node", async || {
        let queues = management.queues().await.ok()?;
        let is_replicated = |name| queues.get(name).is_some_and(|queue| queue.members.len() == NODES);
        QUEUES.iter().all(|queue| is_replicated(queue.name)).then_some(())
    })
    .await?;
    Ok(system)
}

impl System {
    /// Returns the number of replays that the services have requested. A lost queue leads to one.
    async fn requested_replays(&self) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM replays").fetch_one(&self.web_store_database);
        count.await.context("cannot count the replays")
    }

    /// Returns the number of events in the outbox.
    async fn waiting_events(&self) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.web_store_database);
        count.await.context("cannot count the outbox")
    }
}
