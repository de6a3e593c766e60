//! A subscriber that had to create its queue requests the messages that were sent before.

use std::sync::Arc;

use contracts::{
    CreateCustomer, CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED},
};
use futures_util::future::try_join_all;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use reqwest::StatusCode;
use serde_json::Value;
use stack::service::{Program, Service, all_checks_pass};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::open_channel,
    customers::{
        http_client, register, register_at, register_many, wait_for_marketing_rows, wait_for_outbox_depth,
    },
    eventually,
};

const CUSTOMERS: usize = 1000;
const CLIENTS: usize = 10;

struct System {
    web_store: Service,
    transformer: Service,
    marketing: Service,
}

/// Starts all services, and waits until every check passes, also those of replays.
async fn start(environment: &TestEnvironment) -> anyhow::Result<System> {
    let system = System {
        web_store: environment.start_web_store()?,
        transformer: environment.start_transformer()?,
        marketing: environment.start_marketing()?,
    };
    for service in [&system.web_store, &system.transformer, &system.marketing] {
        wait_for_all_checks(service).await?;
    }
    Ok(system)
}

async fn wait_for_all_checks(service: &Service) -> anyhow::Result<()> {
    let (client, url) = (http_client()?, service.url());
    eventually(SOON, &format!("all checks pass at {url}"), async || {
        all_checks_pass(&client, &url).await.then_some(())
    })
    .await
}

/// Declares a queue of another application that receives every message of an exchange.
async fn tap(channel: &Channel, exchange: &str) -> anyhow::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    channel.queue_declare("tap".into(), QueueDeclareOptions::default(), FieldTable::default()).await?;
    let bind = QueueBindOptions::default();
    Ok(channel.queue_bind("tap".into(), exchange.into(), "#".into(), bind, FieldTable::default()).await?)
}

/// Registers [`CUSTOMERS`] customers, and waits until the broker has confirmed their events.
async fn register_confirmed(
    environment: &TestEnvironment,
    web_store: &Service,
) -> anyhow::Result<Vec<String>> {
    let url: Arc<str> = web_store.url().into();
    let clients = (0..CLIENTS).map(async |client_number| {
        let client = http_client()?;
        let mut ids = Vec::new();
        for n in 0..CUSTOMERS / CLIENTS {
            ids.push(register_at(&client, &url, &format!("Customer {client_number} {n}")).await?);
        }
        anyhow::Ok(ids)
    });
    let ids = try_join_all(clients).await?.concat();
    wait_for_outbox_depth(environment, 0, SOON).await?;
    Ok(ids)
}

async fn has_marker(environment: &TestEnvironment, queue: &Queue) -> anyhow::Result<bool> {
    let (_connection, channel) = open_channel(environment).await?;
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let marker = queue.gap_marker();
    let declare =
        channel.exchange_declare(marker.into(), ExchangeKind::Direct, passive, FieldTable::default());
    Ok(declare.await.is_ok())
}

async fn health(service: &Service) -> anyhow::Result<(StatusCode, Value)> {
    let response = http_client()?.get(format!("{}/health/ready", service.url())).send().await?;
    Ok((response.status(), response.json().await?))
}

#[tokio::test]
async fn events_confirmed_without_transformer_queue_arrive() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    tap(&channel, CustomerRegistered::EXCHANGE).await?;
    system.transformer.process.pause();
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    environment.management().delete_queue(queue.name).await?;
    let ids = register_confirmed(&environment, &system.web_store).await?;
    assert!(!environment.management().queues().await?.contains_key(queue.name));
    system.transformer.process.resume();
    wait_for_marketing_rows(&environment, &ids, SOON * 2).await?;
    wait_for_all_checks(&system.transformer).await?;
    assert!(!has_marker(&environment, &queue).await?);
    Ok(())
}

#[tokio::test]
async fn queue_deleted_twice_is_filled_twice() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    tap(&channel, CustomerRegistered::EXCHANGE).await?;
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    let mut ids = Vec::new();
    for name in ["Ann", "Bob"] {
        system.transformer.process.pause();
        environment.management().delete_queue(queue.name).await?;
        ids.push(register(&system.web_store, name).await?);
        wait_for_outbox_depth(&environment, 0, SOON).await?;
        system.transformer.process.resume();
        wait_for_marketing_rows(&environment, &ids, SOON).await?;
    }
    Ok(())
}

#[tokio::test]
async fn commands_confirmed_without_marketing_queue_arrive() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    tap(&channel, CreateCustomer::EXCHANGE).await?;
    system.marketing.process.pause();
    let queue = MARKETING_CREATE_CUSTOMER;
    environment.management().delete_queue(queue.name).await?;
    let ids = register_confirmed(&environment, &system.web_store).await?;
    environment.management().wait_for_depth(TRANSFORMER_CUSTOMER_REGISTERED.name, 0).await?;
    assert!(!environment.management().queues().await?.contains_key(queue.name));
    system.marketing.process.resume();
    wait_for_marketing_rows(&environment, &ids, SOON * 2).await?;
    wait_for_all_checks(&system.marketing).await?;
    assert!(!has_marker(&environment, &queue).await?);
    Ok(())
}

#[tokio::test]
async fn disabled_request_is_reported_and_later_start_closes_gap() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    tap(&channel, CustomerRegistered::EXCHANGE).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    // Its request would fill the queue of the transformer, too.
    let disabled = [("MARKETING_REPLAY_ON_NEW_QUEUE", "false")];
    let _marketing = environment.start_ready(Program::Marketing, &disabled).await?;
    let mut ids = register_many(&web_store, 3).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let disabled = [("TRANSFORMER_REPLAY_ON_NEW_QUEUE", "false")];
    let mut transformer = environment.start_ready(Program::Transformer, &disabled).await?;
    eventually(SOON, "health reports the gap", async || {
        let (status, body) = health(&transformer).await.ok()?;
        assert_eq!(status, StatusCode::OK, "the transformer stays ready");
        let problem = body["parts"]["replays"].as_str()?.to_owned();
        let queue = TRANSFORMER_CUSTOMER_REGISTERED;
        let parts = [queue.name, "--replay-on-new-queue=true", &queue.gap_marker()];
        parts.iter().all(|part| problem.contains(part)).then_some(())
    })
    .await?;
    let late = register(&web_store, "Late").await?;
    wait_for_marketing_rows(&environment, std::slice::from_ref(&late), SOON).await?;
    // The marker is durable, so it also repairs a crash between the creation of the queue and the request.
    transformer.kill().await?;
    assert!(has_marker(&environment, &TRANSFORMER_CUSTOMER_REGISTERED).await?);
    let transformer = environment.start_ready(Program::Transformer, &[]).await?;
    ids.push(late);
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_all_checks(&transformer).await?;
    assert!(!has_marker(&environment, &TRANSFORMER_CUSTOMER_REGISTERED).await?);
    Ok(())
}

#[tokio::test]
async fn disabled_request_of_marketing_is_reported() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let disabled = [("MARKETING_REPLAY_ON_NEW_QUEUE", "false")];
    let marketing = environment.start_ready(Program::Marketing, &disabled).await?;
    eventually(SOON, "health reports the gap", async || {
        let (status, body) = health(&marketing).await.ok()?;
        assert_eq!(status, StatusCode::OK, "Marketing stays ready");
        let problem = body["parts"]["replays"].as_str()?.to_owned();
        (problem.contains(MARKETING_CREATE_CUSTOMER.name) && problem.contains("--replay-on-new-queue=true"))
            .then_some(())
    })
    .await
}

#[tokio::test]
async fn late_transformer_receives_existing_customers() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    tap(&channel, CustomerRegistered::EXCHANGE).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let ids = register_many(&web_store, 5).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let _marketing = environment.start_marketing()?;
    let _transformer = environment.start_transformer()?;
    wait_for_marketing_rows(&environment, &ids, SOON).await
}

#[tokio::test]
async fn request_waits_for_its_receiver() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let transformer = environment.start_ready(Program::Transformer, &[]).await?;
    eventually(SOON, "health reports that the request waits", async || {
        let (_, body) = health(&transformer).await.ok()?;
        let problem = body["parts"]["replays"].as_str()?.to_owned();
        problem.contains("no application receives the request").then_some(())
    })
    .await?;
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    wait_for_all_checks(&transformer).await
}
