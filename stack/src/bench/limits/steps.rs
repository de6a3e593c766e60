//! What the servers themselves take of the way from "registered" to a row, each step alone, at 50 a second.

use std::time::Duration;

use anyhow::Result;
use contracts::address::TRANSFORMER_CUSTOMER_REGISTERED;
use contracts::{CustomerRegistered, Message};
use sqlx::{Connection, MySqlConnection, PgConnection};
use tokio::time::{Instant, interval};

use super::super::load::quantile;
use super::super::visitor::{USUAL_NAME, Visitor};
use super::broker::{Broker, settle};
use super::{mysql, postgres};

const EVERY: Duration = Duration::from_millis(20);

/// The medians, in ms: the statement of a registration, one publish with its confirm, one row's commit.
pub(super) async fn each_alone(
    postgres: String,
    broker: String,
    mysql: String,
    time: Duration,
) -> Result<[f64; 3]> {
    let mut postgres = PgConnection::connect(&postgres).await?;
    let mut mysql = MySqlConnection::connect(&mysql).await?;
    let broker = Broker::connect(&broker).await?;
    let body = Visitor::new(1, USUAL_NAME).event().to_json();
    let (mut statements, mut publishes, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let (began, mut turns) = (Instant::now(), interval(EVERY));
    while began.elapsed() < time {
        turns.tick().await;
        let start = Instant::now();
        postgres::register(&mut postgres).await?;
        statements.push(start.elapsed());
        let start = Instant::now();
        let sent = broker.publish::<CustomerRegistered>(body.as_bytes()).await?;
        settle(&mut [(sent, ())].into(), 0).await?;
        publishes.push(start.elapsed());
        let start = Instant::now();
        mysql::save(&mut mysql, 1, 0).await?;
        commits.push(start.elapsed());
    }
    // Nobody consumes them.
    broker.purge(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    Ok([&mut statements, &mut publishes, &mut commits].map(|latencies| quantile(latencies, 500)))
}
