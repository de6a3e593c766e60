//! PostgreSQL alone: the Web Store's own statement for registrations.

use std::time::Duration;

use anyhow::Context;
use contracts::{CustomerRegistered, Message};
use rand::RngExt;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::fake_customer::{FakeCustomer, USUAL_NAME};

const REGISTER: &str = include_str!("../../../../web-store/src/store/register.sql");

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Returns the registrations per second of `clients` connections, with `batch` registrations per statement.
pub(super) async fn insert_rate(
    url: String,
    clients: usize,
    batch: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(connect(&url).await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            let mut registered = 0;
            while began.elapsed() < duration {
                register(&mut connection, batch).await?;
                registered += batch;
            }
            anyhow::Ok(registered)
        });
    }
    let mut registered = 0;
    while let Some(part) = tasks.join_next().await {
        registered += part.context("a client's task panicked")??;
    }
    Ok(f64::from(u32::try_from(registered)?) / began.elapsed().as_secs_f64())
}

/// Connects with the setting that the Web Store uses.
pub(super) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("SET plan_cache_mode = force_generic_plan").await?;
    Ok(connection)
}

/// Registers random customers in one statement and one commit.
pub(super) async fn register(connection: &mut PgConnection, batch: usize) -> anyhow::Result<()> {
    let first: u64 = rand::rng().random();
    let numbers = (0_u64..).take(batch).map(|n| first.wrapping_add(n));
    let events: Vec<_> = numbers.map(|n| FakeCustomer::new(n, USUAL_NAME).event()).collect();
    sqlx::query(REGISTER)
        .bind(events.iter().map(|event| event.customer_id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.email.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.marketing_consent).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.registered_at).collect::<Vec<_>>())
        .bind(events.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
        .bind(vec![TRACEPARENT; batch])
        .bind(events.iter().map(Message::to_json).collect::<Vec<_>>())
        .bind(vec![None::<Uuid>; batch])
        .bind(vec![None::<Uuid>; batch])
        .bind(events.iter().map(|_| Uuid::new_v4()).collect::<Vec<_>>())
        .bind(CustomerRegistered::TYPE)
        .fetch_all(connection)
        .await?;
    Ok(())
}
