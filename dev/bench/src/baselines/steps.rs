//! The servers' own part of the way from "registered" to a row: each step alone, at 50 a second.

use std::time::Duration;

use contracts::{CustomerRegistered, Message, topology::TRANSFORMER_CUSTOMER_REGISTERED};
use sqlx::{Connection, MySqlConnection};
use tokio::time::{Instant, interval};

use super::{broker::BrokerClient, mysql, postgres};
use crate::fake_customer::{FakeCustomer, USUAL_NAME};

const INTERVAL: Duration = Duration::from_millis(20);

/// The duration of each step, one value per turn.
#[derive(Default)]
pub(super) struct StepTimes {
    /// One registration and its commit.
    pub(super) registrations: Vec<Duration>,
    /// From a publish to its confirm.
    pub(super) publishes: Vec<Duration>,
    /// One row in Marketing's table and its commit.
    pub(super) rows: Vec<Duration>,
    /// A registration, two publishes, and a row.
    pub(super) totals: Vec<Duration>,
}

/// Executes all steps every 20 ms for `duration`.
pub(super) async fn measure(
    postgres_url: String,
    broker_url: String,
    mysql_url: String,
    duration: Duration,
) -> anyhow::Result<StepTimes> {
    let mut postgres = postgres::connect(&postgres_url).await?;
    let mut mysql = MySqlConnection::connect(&mysql_url).await?;
    let broker = BrokerClient::connect(&broker_url).await?;
    let body = FakeCustomer::new(1, USUAL_NAME).event().to_json();
    let mut steps = StepTimes::default();
    let began = Instant::now();
    let mut turns = interval(INTERVAL);
    while began.elapsed() < duration {
        turns.tick().await;
        let start = Instant::now();
        postgres::register(&mut postgres, 1).await?;
        let registered = Instant::now();
        broker.publish_confirmed::<CustomerRegistered>(body.as_bytes()).await?;
        let published = Instant::now();
        broker.publish_confirmed::<CustomerRegistered>(body.as_bytes()).await?;
        let published_twice = Instant::now();
        mysql::insert(&mut mysql, 1, 0).await?;
        let end = Instant::now();
        steps.registrations.push(registered - start);
        steps.publishes.push(published - registered);
        steps.rows.push(end - published_twice);
        steps.totals.push(end - start);
    }
    // There is no consumer for these messages.
    broker.purge(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    Ok(steps)
}
