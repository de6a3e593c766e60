//! A replay of all customers into another team's queue: its rate, its memory, and its effect on live registrations.

use std::cell::Cell;

use contracts::{
    CustomerDetailsChanged, CustomerRegistered, Message, ReplayCustomers, topology::WEB_STORE_REPLAYS,
};
use stack::service::Program;
use system_tests::customers::insert_customers;
use tokio::time::Instant;

use crate::{
    baselines::broker::{BrokerClient, next_batch},
    context::Bench,
    disk::{flush_postgres, wait_until_disk_idle},
    figures::Figures,
    latency,
    load::quantile_ms,
    pipeline::Pipeline,
    report::group_thousands,
};

/// The queue of the other team.
const QUEUE: &str = "loyalty.customers";

pub(crate) const P99_WITHOUT: &str = "registered to visible row, at 50/s, before a replay: p99";
pub(crate) const P99_DURING: &str = "registered to visible row, at 50/s, during a replay: p99";

/// Measures live registrations before the replay and during it, in the same environment.
pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let customers = bench.scale.replayed;
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    let urls = pipeline.environment.connection_urls();
    insert_customers(&pipeline.environment, i32::try_from(customers)?).await?;
    flush_postgres(urls).await?;
    wait_until_disk_idle(urls, bench.scale.idle_limit()).await?;
    let mut without = latency::observe(bench, &pipeline, latency::ORDINARY_RATE).await?;
    let memory_before = pipeline.peak_memory(Program::WebStore);

    let has_ended = Cell::new(false);
    let replay = async {
        let broker_url = pipeline.environment.broker_url("admin");
        let rate = bench.workers.run(receive(broker_url, customers)).await;
        has_ended.set(true);
        rate
    };
    let observation = async {
        let mut during = Vec::new();
        loop {
            let latencies = latency::observe(bench, &pipeline, latency::ORDINARY_RATE).await?;
            // The replay ended during the last observation.
            if !has_ended.get() || during.is_empty() {
                during.extend(latencies);
            }
            if has_ended.get() {
                return Ok(during);
            }
        }
    };
    let (rate, mut during) = tokio::try_join!(replay, observation)?;
    let replay = format!("replay of {} customers", group_thousands(&customers.to_string()));
    figures.add(format!("{replay}: events"), "/s", rate);
    figures.add(P99_WITHOUT, "ms", quantile_ms(&mut without, 990));
    figures.add(P99_DURING, "ms", quantile_ms(&mut during, 990));
    figures.add(format!("{replay}: peak memory of web-store before"), "MiB", memory_before);
    let memory = pipeline.peak_memory(Program::WebStore);
    figures.add(format!("{replay}: peak memory of web-store"), "MiB", memory);
    Ok(())
}

/// Requests a replay, and returns the rate at which its first `events` events arrive.
async fn receive(broker_url: String, events: u32) -> anyhow::Result<f64> {
    let broker = BrokerClient::connect(&broker_url).await?;
    broker.declare_bound_queue(QUEUE, WEB_STORE_REPLAYS).await?;
    let mut deliveries = broker.consume(QUEUE).await?;
    let request = ReplayCustomers {
        queue: QUEUE.to_owned(),
        event_types: Some(vec![CustomerRegistered::TYPE.to_owned(), CustomerDetailsChanged::TYPE.to_owned()]),
        since: None,
        until: None,
        customers: None,
    };
    let began = Instant::now();
    broker.publish_confirmed::<ReplayCustomers>(request.to_json().as_bytes()).await?;
    let mut received = 0;
    while received < events {
        let batch = next_batch(&mut deliveries).await?;
        received += u32::try_from(batch.len())?;
        broker.ack_up_to(batch[batch.len() - 1].delivery_tag).await?;
    }
    Ok(f64::from(received) / began.elapsed().as_secs_f64())
}
