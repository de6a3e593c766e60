//! A replay of many customers while the Web Store is killed again and again.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::Context;
use contracts::{CustomerRegistered, Message, ReplayCustomers, topology::WEB_STORE_REPLAYS};
use futures_util::StreamExt;
use lapin::{options::BasicConsumeOptions, types::FieldTable};
use serde_json::json;
use service_kit::write_stdout;
use stack::{resource_usage::peak_memory, servers::Servers, service::Program};
use system_tests::{
    broker_client::{open_channel, properties, publish},
    customers::insert_customers,
    eventually,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::system::System;

/// The queue of another team.
const QUEUE: &str = "loyalty.customers";

/// The time in which the next event must arrive, also after a kill, and in which the replay must end.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Replays customers into the queue of another team, and kills the Web Store meanwhile
///
/// The exit status is 0 only if the event of each customer arrives under its original id, and no other event.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ReplayArguments {
    /// Customers in the Web Store
    #[arg(long, default_value_t = 1_000_000)]
    customers: u32,
    /// Kills of the Web Store, at even intervals
    #[arg(long, default_value_t = 10)]
    kills: u32,
}

/// The result. Its line is for scripts, so the names of its fields do not change.
struct Report {
    customers: usize,
    missing: usize,
    unexpected: usize,
    /// Events that arrived again, because a kill hit the page after its publication.
    copies: u32,
    kills: u32,
    events_per_second: f64,
    /// The maximum of all processes of the Web Store.
    peak_mib: u64,
}

/// Makes the run, and prints its result. Returns whether it is clean.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the replay does not continue after a kill.
pub(crate) async fn run(
    servers: &Servers,
    arguments: ReplayArguments,
    log: fn(&str),
) -> anyhow::Result<bool> {
    let ReplayArguments { customers, kills } = arguments;
    let system = System::start(servers).await?;
    insert_customers(&system.environment, i32::try_from(customers)?).await?;
    let expected: Vec<Uuid> = sqlx::query_scalar("SELECT message_id FROM customers")
        .fetch_all(&system.web_store_database)
        .await
        .context("cannot read the ids of the events")?;
    let expected: HashSet<Uuid> = expected.into_iter().collect();

    let management = system.environment.management();
    management.declare_queue(QUEUE, json!({ "x-queue-type": "quorum" })).await?;
    management.bind(QUEUE, WEB_STORE_REPLAYS, QUEUE).await?;
    let (_connection, channel) = open_channel(&system.environment).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut events = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    let request = json!({ "queue": QUEUE, "event_types": [CustomerRegistered::TYPE] }).to_string();
    let properties = properties(ReplayCustomers::TYPE);
    publish(&channel, ReplayCustomers::EXCHANGE, ReplayCustomers::TYPE, properties, request.as_bytes())
        .await?;

    let began = Instant::now();
    let mut arrived = HashSet::with_capacity(expected.len());
    let (mut copies, mut killed, mut peak_kib) = (0, 0, 0);
    while arrived.len() < expected.len() {
        let event = timeout(TIMEOUT, events.next()).await.with_context(|| {
            format!("no event for {TIMEOUT:?}, after {} customers and {killed} kills", arrived.len())
        })?;
        let event = event.context("the consumer was cancelled")??;
        let id = event.properties.message_id().as_ref().context("an event has no id")?;
        if !arrived.insert(id.as_str().parse::<Uuid>()?) {
            copies += 1;
        }
        let next_kill = expected.len() * (killed as usize + 1) / (kills as usize + 1);
        if killed < kills && arrived.len() >= next_kill {
            killed += 1;
            log(&format!("kill {killed} of {kills}, after {} customers", arrived.len()));
            let mut web_store = system.service(Program::WebStore).await;
            peak_kib = peak_kib.max(peak_memory(web_store.process.pid()));
            web_store.kill().await?;
            system.restart(&mut web_store, Program::WebStore)?;
        }
    }
    let elapsed = began.elapsed();
    wait_until_ended(&system).await?;
    peak_kib = peak_kib.max(peak_memory(system.service(Program::WebStore).await.process.pid()));
    let report = Report {
        customers: expected.len(),
        missing: expected.difference(&arrived).count(),
        unexpected: arrived.difference(&expected).count(),
        copies,
        kills: killed,
        events_per_second: f64::from(customers) / elapsed.as_secs_f64(),
        peak_mib: peak_kib / 1024,
    };
    write_stdout(&format!("{report}\n"))?;
    Ok(report.is_clean())
}

async fn wait_until_ended(system: &System) -> anyhow::Result<()> {
    let select = "SELECT count(*) FROM replays WHERE queue = $1 AND ended_at IS NULL";
    eventually(TIMEOUT, "the end of the replay", async || {
        let running = sqlx::query_scalar::<_, i64>(select).bind(QUEUE);
        (running.fetch_one(&system.web_store_database).await.ok()? == 0).then_some(())
    })
    .await
}

impl Report {
    fn is_clean(&self) -> bool {
        (self.missing, self.unexpected) == (0, 0)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { customers, missing, unexpected, copies, kills, events_per_second, peak_mib } = self;
        write!(
            f,
            "customers={customers} missing={missing} unexpected={unexpected} copies={copies} kills={kills} \
             events_per_second={events_per_second:.0} peak_mib={peak_mib}"
        )
    }
}
