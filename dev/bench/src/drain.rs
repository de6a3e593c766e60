//! A backlog in the outbox, and how fast it drains into Marketing's table.

use anyhow::Result;
use contracts::{CustomerRegistered, Message};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::Bench;
use super::arrivals::Arrivals;
use super::disk::write_to_disk;
use super::fake_customer::{FakeCustomer, USUAL_NAME};
use super::figures::Figures;
use super::load::{Load, Until};
use super::pipeline::Pipeline;
use super::report::grouped;

/// Events that wait, made by the server from one that is real: with an id, a name and an address of their
/// own. Their ids are older than any that is made now, and in order.
const FILL: &str =
    "INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
    SELECT id, $2, id::text, '00-' || md5(n::text) || '-00f067aa0ba902b7-01', now(),
        replace(replace($3, $4, id::text), $5, left(md5(n::text), 16))
    FROM (SELECT n, ('01970000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
        FROM generate_series(1, $1) AS numbers (n)) AS events";

/// Measurement came of one run.
pub(super) struct Drained {
    pub(super) rows_per_second: f64,
    /// Of the three processes together, in MiB.
    pub(super) peak_memory: f64,
}

pub(super) fn rows_name(waiting: u32) -> String {
    format!("drain of {} waiting events: rows", grouped(&waiting.to_string()))
}

pub(super) async fn measure(bench: &Bench, waiting: u32, figures: &mut Figures) -> Result<()> {
    let drained = drain(bench, waiting).await?;
    figures.add(rows_name(waiting), "/s", drained.rows_per_second);
    let name = format!("drain of {} waiting events: peak memory of all three", grouped(&waiting.to_string()));
    figures.add(name, "MiB", drained.peak_memory);
    Ok(())
}

/// From the moment when the events are there until the last row. They become visible all at once, by one
/// commit, and somebody who registers right after it wakes the relay.
async fn drain(bench: &Bench, waiting: u32) -> Result<Drained> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    let arrivals = Arrivals::from_now(&pipeline.rows).await?;
    let addresses = pipeline.site.addresses();
    let mut database = PgConnection::connect(&addresses.web_store_database_url("web_store")).await?;
    let mut events = database.begin().await?;
    let model = FakeCustomer::new(1, USUAL_NAME);
    let event = model.event();
    sqlx::query(FILL)
        .bind(i32::try_from(waiting)?)
        .bind(CustomerRegistered::TYPE)
        .bind(event.to_json())
        .bind(event.customer_id.to_string())
        .bind(&model.email[..16])
        .execute(&mut *events)
        .await?;
    // So that writing the backlog to the disk is over when its draining begins.
    write_to_disk(addresses).await?;
    let began = Instant::now();
    events.commit().await?;
    let one = Load::new(pipeline.web_stores(), 1, Until::Registered(1));
    let mut last = bench.workers.run(one.run()).await?.last;
    last.push(format!("01970000-0000-7000-8000-{waiting:012x}").parse::<Uuid>()?);
    arrivals.wait_for(waiting + 1, &last).await?;
    Ok(Drained {
        rows_per_second: f64::from(waiting + 1) / began.elapsed().as_secs_f64(),
        peak_memory: pipeline.peak_memory_of_all(),
    })
}
