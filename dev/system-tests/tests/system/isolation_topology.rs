//! The topology repairs itself, and health reports with the fix what cannot be repaired.

use std::time::Duration;

use anyhow::Context;
use contracts::topology::{
    MARKETING_CREATE_CUSTOMER, QUEUES, TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_EVENTS,
};
use lapin::{
    options::{ExchangeDeleteOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::{
    connection_urls::PASSWORD,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::open_channel,
    customers::{http_client, register, wait_for_marketing_rows, wait_for_outbox_depth},
    eventually,
};

/// The services declare their topology every 30 s.
const REPAIRED: Duration = Duration::from_mins(1);

struct System {
    web_store: Service,
    _transformer: Service,
    _marketing: Service,
}

async fn start(environment: &TestEnvironment) -> anyhow::Result<System> {
    Ok(System {
        web_store: environment.start_ready(Program::WebStore, &[]).await?,
        _transformer: environment.start_ready(Program::Transformer, &[]).await?,
        _marketing: environment.start_ready(Program::Marketing, &[]).await?,
    })
}

async fn health(service: &Service) -> anyhow::Result<(StatusCode, Value)> {
    let response = http_client()?.get(format!("{}/health/ready", service.url())).send().await?;
    Ok((response.status(), response.json().await?))
}

/// Sets the permissions of a user on the environment's virtual host.
async fn set_permissions(
    environment: &TestEnvironment,
    user: &str,
    permissions: Value,
) -> anyhow::Result<()> {
    let urls = environment.connection_urls();
    let url = format!(
        "http://127.0.0.1:{}/api/permissions/{}/{user}",
        urls.ports.management,
        urls.virtual_host.replace('/', "%2f"),
    );
    let request = http_client()?.put(url).basic_auth("admin", Some(PASSWORD)).json(&permissions);
    request.send().await?.error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn deleted_exchange_and_its_bindings_come_back() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    channel.exchange_delete(WEB_STORE_EVENTS.into(), ExchangeDeleteOptions::default()).await?;
    let mut customers = Vec::new();
    for name in ["Ann", "Ben", "Cem"] {
        customers.push(register(&system.web_store, name).await?);
    }
    wait_for_marketing_rows(&environment, &customers, REPAIRED).await?;
    Ok(())
}

#[tokio::test]
async fn deleted_binding_comes_back() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    environment.management().unbind(queue.name, queue.exchange, &queue.binding_key()).await?;
    let customer = register(&system.web_store, "Ann").await?;
    wait_for_outbox_depth(&environment, 1, SOON).await?;
    wait_for_marketing_rows(&environment, &[customer], REPAIRED).await?;
    Ok(())
}

#[tokio::test]
async fn queue_with_other_settings_is_used_and_reported_with_fix() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(MARKETING_CREATE_CUSTOMER.name.into(), options, arguments).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let marketing = environment.start_marketing()?;
    let customer = register(&web_store, "Ann").await?;
    wait_for_marketing_rows(&environment, &[customer], SOON).await?;
    let (status, body) = health(&marketing).await?;
    let problem = body["parts"][MARKETING_CREATE_CUSTOMER.name].as_str().context("a problem")?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    for part in ["queue marketing.create-customer", "delete it when it is empty", "PRECONDITION_FAILED"] {
        assert!(problem.contains(part), "{part} in {problem}");
    }
    Ok(())
}

#[tokio::test]
async fn shipped_policy_limits_deliveries_of_messages_and_not_of_dead_letters() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _system = start(&environment).await?;
    let management = environment.management();
    for queue in QUEUES {
        // The management API has no policy of a queue in its first second.
        eventually(SOON, &format!("the policy of {}", queue.name), async || {
            let messages = management.effective_policy(queue.name).await.ok()?;
            let dead_letters = management.effective_policy(&queue.dead_letter_queue()).await.ok()?;
            (messages == json!({ "delivery-limit": 20 }) && dead_letters == json!({})).then_some(())
        })
        .await?;
    }
    // An operator's policy replaces it, without a priority of its own.
    management.set_policy("own", "^marketing\\.create-customer$", json!({ "max-length": 5 })).await?;
    let queue = MARKETING_CREATE_CUSTOMER.name;
    eventually(SOON, "the operator's policy applies", async || {
        let policy = management.effective_policy(queue).await.ok()?;
        (policy == json!({ "max-length": 5 })).then_some(())
    })
    .await
}

#[tokio::test]
async fn provided_topology_is_used_without_permission_to_declare() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    drop(start(&environment).await?);
    set_permissions(
        &environment,
        "marketing",
        json!({ "configure": "^$", "write": "^marketing\\.dead-letters$", "read": "^marketing\\..+$" }),
    )
    .await?;
    let system = start(&environment).await?;
    let customer = register(&system.web_store, "Ann").await?;
    wait_for_marketing_rows(&environment, &[customer], SOON).await?;
    Ok(())
}

#[tokio::test]
async fn missing_permission_is_reported_with_fix_and_recovers() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    drop(start(&environment).await?);
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    set_permissions(&environment, "marketing", json!({ "configure": ".*", "write": ".*", "read": "^$" }))
        .await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let mut marketing = environment.start_marketing()?;
    let customer = register(&web_store, "Ann").await?;
    eventually(SOON, "health names the missing permission", async || {
        let (_, body) = health(&marketing).await.ok()?;
        let problem = body["parts"][MARKETING_CREATE_CUSTOMER.name].as_str()?.to_owned();
        (problem.contains("grant it to this user") && problem.contains("access to queue")).then_some(())
    })
    .await?;
    set_permissions(&environment, "marketing", all).await?;
    marketing.wait_ready(REPAIRED).await?;
    wait_for_marketing_rows(&environment, &[customer], SOON).await?;
    Ok(())
}
