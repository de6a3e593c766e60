//! Fills the outbox, and measures how fast the events become rows in Marketing's table.

use contracts::{CustomerRegistered, Message};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    arrivals::Arrivals,
    context::Bench,
    disk::flush_postgres,
    fake_customer::{FakeCustomer, USUAL_NAME},
    figures::Figures,
    load::{Load, Until},
    pipeline::Pipeline,
    report::group_thousands,
};

/// Makes events from one real event, each with its own id, name, and address.
///
/// The ids are in order and older than each id of today, so these events leave first.
const FILL: &str =
    "INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
    SELECT id, $2, id::text, '00-' || md5(n::text) || '-00f067aa0ba902b7-01', now(),
        replace(replace($3, $4, id::text), $5, left(md5(n::text), 16))
    FROM (SELECT n, ('01970000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
        FROM generate_series(1, $1) AS numbers (n)) AS events";

/// The result of one run.
struct Drained {
    rows_per_second: f64,
    /// The sum for the three services, in MiB.
    peak_memory: f64,
}

/// Returns the name of the figure for a backlog of `waiting` events.
pub(crate) fn rows_name(waiting: u32) -> String {
    format!("drain of {} waiting events: rows", group_thousands(&waiting.to_string()))
}

pub(crate) async fn measure(bench: &Bench, waiting: u32, figures: &mut Figures) -> anyhow::Result<()> {
    let drained = drain(bench, waiting).await?;
    figures.add(rows_name(waiting), "/s", drained.rows_per_second);
    let waiting = group_thousands(&waiting.to_string());
    let name = format!("drain of {waiting} waiting events: peak memory of all three");
    figures.add(name, "MiB", drained.peak_memory);
    Ok(())
}

/// Adds `waiting` events to the outbox.
pub(crate) async fn fill(database: &mut PgConnection, waiting: u32) -> anyhow::Result<()> {
    let model = FakeCustomer::new(1, USUAL_NAME);
    let event = model.event();
    sqlx::query(FILL)
        .bind(i32::try_from(waiting)?)
        .bind(CustomerRegistered::TYPE)
        .bind(event.to_json())
        .bind(event.customer_id.to_string())
        .bind(&model.email[..16])
        .execute(database)
        .await?;
    Ok(())
}

/// Measures from the commit of the backlog until its last row has arrived.
///
/// One commit makes all events visible. A registration right after it wakes the relay.
async fn drain(bench: &Bench, waiting: u32) -> anyhow::Result<Drained> {
    let pipeline = Pipeline::start(&bench.servers).await?;
    bench.warm_up(&pipeline).await?;
    let arrivals = Arrivals::from_now(&pipeline.marketing_database).await?;
    let urls = pipeline.environment.connection_urls();
    let mut database = PgConnection::connect(&urls.web_store_database_url("web_store")).await?;
    let mut events = database.begin().await?;
    fill(&mut events, waiting).await?;
    // The backlog is on the disk before its draining begins.
    flush_postgres(urls).await?;
    let began = Instant::now();
    events.commit().await?;
    let one = Load::new(pipeline.web_stores(), 1, Until::Registered(1));
    let mut last = bench.workers.run(one.run()).await?.last;
    last.push(format!("01970000-0000-7000-8000-{waiting:012x}").parse::<Uuid>()?);
    arrivals.wait_for(waiting + 1, &last).await?;
    Ok(Drained {
        rows_per_second: f64::from(waiting + 1) / began.elapsed().as_secs_f64(),
        peak_memory: pipeline.total_peak_memory(),
    })
}
