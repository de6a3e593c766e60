//! Measurement the servers themselves take of the way from "registered" to a row, each step alone, at 50 a second.

use std::time::Duration;

use anyhow::Result;
use contracts::topology::TRANSFORMER_CUSTOMER_REGISTERED;
use contracts::{CustomerRegistered, Message};
use sqlx::{Connection, MySqlConnection};
use tokio::time::{Instant, interval};

use super::super::fake_customer::{FakeCustomer, USUAL_NAME};
use super::broker::Broker;
use super::{mysql, postgres};

const EVERY: Duration = Duration::from_millis(20);

/// How long each step took, once for every turn.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) statements: Vec<Duration>,
    /// From a publish to its confirm.
    pub(super) publishes: Vec<Duration>,
    /// One row and its commit.
    pub(super) commits: Vec<Duration>,
    /// One of each, and a second publish.
    pub(super) all: Vec<Duration>,
}

pub(super) async fn each_alone(
    postgres: String,
    broker: String,
    mysql: String,
    time: Duration,
) -> Result<Steps> {
    let mut postgres = postgres::connect(&postgres).await?;
    let mut mysql = MySqlConnection::connect(&mysql).await?;
    let broker = Broker::connect(&broker).await?;
    let body = FakeCustomer::new(1, USUAL_NAME).event().to_json();
    let mut steps = Steps::default();
    let (began, mut turns) = (Instant::now(), interval(EVERY));
    while began.elapsed() < time {
        turns.tick().await;
        let start = Instant::now();
        postgres::register(&mut postgres, 1).await?;
        let saved = Instant::now();
        broker.publish_and_wait::<CustomerRegistered>(body.as_bytes()).await?;
        let published = Instant::now();
        broker.publish_and_wait::<CustomerRegistered>(body.as_bytes()).await?;
        let published_twice = Instant::now();
        mysql::save(&mut mysql, 1, 0).await?;
        let end = Instant::now();
        steps.statements.push(saved - start);
        steps.publishes.push(published - saved);
        steps.commits.push(end - published_twice);
        steps.all.push(end - start);
    }
    // Nobody consumes them.
    broker.purge(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    Ok(steps)
}
