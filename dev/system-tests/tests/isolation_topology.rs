//! The topology repairs itself, and health reports with the fix what cannot be repaired.

use std::time::Duration;

use contracts::{
    CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_EVENTS},
};
use lapin::{
    options::{ExchangeDeleteOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::{connection_urls::PASSWORD, service::Service};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::channel,
    customers::{arrive_in_marketing, browser, register},
    eventually,
};

/// The services declare their topology every 30 s.
const REPAIRED: Duration = Duration::from_mins(1);

struct System {
    web_store: Service,
    transformer: Service,
    marketing: Service,
}

async fn start(environment: &TestEnvironment) -> System {
    let mut system = System {
        web_store: environment.start_web_store(),
        transformer: environment.start_transformer(),
        marketing: environment.start_marketing(),
    };
    for service in [&mut system.web_store, &mut system.transformer, &mut system.marketing] {
        service.wait_ready(SOON).await.unwrap();
    }
    system
}

async fn health(service: &Service) -> (StatusCode, Value) {
    let response = browser().get(format!("{}/health/ready", service.url())).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// Sets the permissions of a user on the environment's virtual host.
async fn set_permissions(environment: &TestEnvironment, user: &str, permissions: Value) {
    let urls = environment.addresses();
    let url = format!(
        "http://127.0.0.1:{}/api/permissions/{}/{user}",
        urls.ports.management,
        urls.virtual_host.replace('/', "%2f"),
    );
    let request = browser().put(url).basic_auth("admin", Some(PASSWORD)).json(&permissions);
    request.send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test]
async fn deleted_exchange_and_its_bindings_come_back() {
    let environment = TestEnvironment::new().await;
    let system = start(&environment).await;
    let (_connection, channel) = channel(&environment).await;
    channel.exchange_delete(WEB_STORE_EVENTS.into(), ExchangeDeleteOptions::default()).await.unwrap();
    let mut customers = Vec::new();
    for name in ["Ann", "Ben", "Cem"] {
        customers.push(register(&system.web_store, name).await);
    }
    arrive_in_marketing(&environment, &customers, REPAIRED).await;
}

#[tokio::test]
async fn deleted_binding_comes_back() {
    let environment = TestEnvironment::new().await;
    let system = start(&environment).await;
    let (_connection, channel) = channel(&environment).await;
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    channel
        .queue_unbind(
            queue.name.into(),
            queue.exchange.into(),
            queue.routing_key.into(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let customer = register(&system.web_store, "Ann").await;
    arrive_in_marketing(&environment, &[customer], REPAIRED).await;
    assert_eq!(CustomerRegistered::TYPE, queue.routing_key);
}

#[tokio::test]
async fn queue_with_other_settings_is_used_and_reported_with_fix() {
    let environment = TestEnvironment::new().await;
    let (_connection, channel) = channel(&environment).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(MARKETING_CREATE_CUSTOMER.name.into(), options, arguments).await.unwrap();
    let mut web_store = environment.start_web_store();
    let mut transformer = environment.start_transformer();
    let marketing = environment.start_marketing();
    web_store.wait_ready(SOON).await.unwrap();
    transformer.wait_ready(SOON).await.unwrap();
    let customer = register(&web_store, "Ann").await;
    arrive_in_marketing(&environment, &[customer], SOON).await;
    let (status, body) = health(&marketing).await;
    let problem = body["parts"][MARKETING_CREATE_CUSTOMER.name].as_str().unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    for part in ["queue marketing.create-customer", "delete it when it is empty", "PRECONDITION_FAILED"] {
        assert!(problem.contains(part), "{part} in {problem}");
    }
}

#[tokio::test]
async fn provided_topology_is_used_without_permission_to_declare() {
    let environment = TestEnvironment::new().await;
    drop(start(&environment).await);
    set_permissions(
        &environment,
        "marketing",
        json!({ "configure": "^$", "write": "^marketing\\.dead-letters$", "read": "^marketing\\..+$" }),
    )
    .await;
    let system = start(&environment).await;
    let customer = register(&system.web_store, "Ann").await;
    arrive_in_marketing(&environment, &[customer], SOON).await;
}

#[tokio::test]
async fn missing_permission_is_reported_with_fix_and_recovers() {
    let environment = TestEnvironment::new().await;
    drop(start(&environment).await);
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    set_permissions(&environment, "marketing", json!({ "configure": ".*", "write": ".*", "read": "^$" }))
        .await;
    let mut web_store = environment.start_web_store();
    let mut transformer = environment.start_transformer();
    let mut marketing = environment.start_marketing();
    web_store.wait_ready(SOON).await.unwrap();
    transformer.wait_ready(SOON).await.unwrap();
    let customer = register(&web_store, "Ann").await;
    eventually(SOON, "health names the missing permission", async || {
        let (_, body) = health(&marketing).await;
        let problem = body["parts"][MARKETING_CREATE_CUSTOMER.name].as_str()?.to_owned();
        (problem.contains("grant it to this user") && problem.contains("access to queue")).then_some(())
    })
    .await;
    set_permissions(&environment, "marketing", all).await;
    marketing.wait_ready(REPAIRED).await.unwrap();
    arrive_in_marketing(&environment, &[customer], SOON).await;
}
