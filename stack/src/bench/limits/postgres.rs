//! PostgreSQL alone: the very statement by which the Web Store registers somebody.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{CustomerRegistered, Message};
use rand::RngExt;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::visitor::{USUAL_NAME, Visitor};

const REGISTER: &str = include_str!("../../../../web-store/src/store/register.sql");

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Registrations a second, by so many clients at once.
pub(super) async fn statements(url: String, clients: u32, time: Duration) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(PgConnection::connect(&url).await?);
    }
    let began = Instant::now();
    let mut registering = JoinSet::new();
    for mut connection in connections {
        registering.spawn(async move {
            let mut registered = 0_u32;
            while began.elapsed() < time {
                register(&mut connection).await?;
                registered += 1;
            }
            anyhow::Ok(registered)
        });
    }
    let mut registered = 0;
    while let Some(part) = registering.join_next().await {
        registered += part.context("a client's task")??;
    }
    Ok(f64::from(registered) / began.elapsed().as_secs_f64())
}

/// One statement, one commit.
pub(super) async fn register(connection: &mut PgConnection) -> Result<()> {
    let event = Visitor::new(rand::rng().random(), USUAL_NAME).event();
    let message_id = Uuid::now_v7();
    sqlx::query(REGISTER)
        .bind(event.customer_id)
        .bind(&event.name)
        .bind(&event.email)
        .bind(event.marketing_consent)
        .bind(event.registered_at)
        .bind(message_id)
        .bind(CustomerRegistered::TYPE)
        .bind(message_id.to_string())
        .bind(TRACEPARENT)
        .bind(event.to_json())
        .bind(None::<Uuid>)
        .bind(None::<Uuid>)
        .bind(Uuid::new_v4())
        .execute(connection)
        .await?;
    Ok(())
}
