//! PostgreSQL alone: the very statement by which the Web Store registers somebody.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{CustomerRegistered, Message};
use rand::RngExt;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::fake_customer::{FakeCustomer, USUAL_NAME};

const REGISTER: &str = include_str!("../../../../web-store/src/store/register.sql");

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Registrations a second, by so many clients at once, each with so many in a statement.
pub(super) async fn statements(url: String, clients: usize, batch: usize, time: Duration) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(connect(&url).await?);
    }
    let began = Instant::now();
    let mut registering = JoinSet::new();
    for mut connection in connections {
        registering.spawn(async move {
            let mut registered = 0;
            while began.elapsed() < time {
                register(&mut connection, batch).await?;
                registered += batch;
            }
            anyhow::Ok(registered)
        });
    }
    let mut registered = 0;
    while let Some(part) = registering.join_next().await {
        registered += part.context("a client's task")??;
    }
    Ok(f64::from(u32::try_from(registered)?) / began.elapsed().as_secs_f64())
}

/// With the setting that the Web Store has.
pub(super) async fn connect(url: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("SET plan_cache_mode = force_generic_plan").await?;
    Ok(connection)
}

/// One statement, one commit.
pub(super) async fn register(connection: &mut PgConnection, batch: usize) -> Result<()> {
    let first: u64 = rand::rng().random();
    let visitors =
        (0_u64..).take(batch).map(|n| FakeCustomer::new(first.wrapping_add(n), USUAL_NAME).event());
    let events: Vec<_> = visitors.collect();
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
