//! How the services start, tell of their health, log and stop.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use stack::connection_urls::PASSWORD;
use stack::ports::free_port;
use stack::service::{Program, Service};
use system_tests::customers::{http_client, post_form, register, wait_for_marketing_rows};
use system_tests::{SOON, TestEnvironment, eventually};

const TO_STOP: Duration = Duration::from_secs(10);

async fn health(service: &Service, which: &str) -> Option<(StatusCode, Value)> {
    let answer = http_client().unwrap().get(format!("{}/health/{which}", service.url())).send().await.ok()?;
    Some((answer.status(), answer.json().await.ok()?))
}

#[tokio::test]
async fn the_web_store_stays_ready_while_the_broker_is_away_and_says_so() {
    let site = TestEnvironment::new().await.unwrap();
    let nobody = format!("amqp://web-store:hush@127.0.0.1:{}/%2f", free_port().unwrap());
    let mut web_store = site.start(Program::WebStore, &[("WEB_STORE_BROKER_URL", &nobody)]).unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    register(&web_store, "Ann").await.unwrap();
    let (status, body) = health(&web_store, "ready").await.unwrap();
    assert_eq!((status, &body["parts"]["postgres"]), (StatusCode::OK, &Value::from("up")));
    assert!(body["parts"]["broker"].as_str().unwrap().starts_with("down"), "{body}");
    eventually(SOON, "one clear line", async || {
        site.logs_contain("trying again until it is back").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(site.log().matches(" WARN ").count(), 1, "one line, however many attempts: {}", site.log());
    assert!(!site.logs_contain("hush"));
}

#[tokio::test]
async fn a_service_without_its_servers_lives_is_not_ready_and_leaves_when_asked() {
    let site = TestEnvironment::new().await.unwrap();
    let nobody = format!("amqp://nobody:hush@127.0.0.1:{}/%2f", free_port().unwrap());
    let database = format!("mysql://nobody:hush@127.0.0.1:{}/none", free_port().unwrap());
    let transformer =
        site.start(Program::Transformer, &[("TRANSFORMER_SOURCE_BROKER_URL", &nobody)]).unwrap();
    let databases =
        [("MARKETING_DATABASE_URL", database.as_str()), ("MARKETING_OWNER_DATABASE_URL", &database)];
    let marketing = site.start(Program::Marketing, &databases).unwrap();
    for mut service in [transformer, marketing] {
        let (live, _) = eventually(SOON, "it lives", async || health(&service, "live").await).await.unwrap();
        assert_eq!(live, StatusCode::OK);
        let (ready, body) = health(&service, "ready").await.unwrap();
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(service.terminate(TO_STOP).await.unwrap().success());
    }
    assert!(!site.logs_contain("hush"));
}

#[tokio::test]
async fn sigterm_under_load_finishes_what_is_in_hand_and_loses_nothing() {
    let site = TestEnvironment::new().await.unwrap();
    let mut ids = Vec::new();
    let mut services =
        [site.start_web_store().unwrap(), site.start_transformer().unwrap(), site.start_marketing().unwrap()];
    for service in &mut services {
        service.wait_ready(SOON).await.unwrap();
    }
    for n in 0..50 {
        ids.push(register(&services[0], &format!("Customer {n}")).await.unwrap());
    }
    for service in &mut services {
        assert!(service.terminate(TO_STOP).await.unwrap().success());
    }
    let _again =
        [site.start_web_store().unwrap(), site.start_transformer().unwrap(), site.start_marketing().unwrap()];
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}

#[tokio::test]
async fn no_log_holds_personal_data_or_a_password() {
    let site = TestEnvironment::new().await.unwrap();
    let tell_more = [("LOG", "info")];
    let mut web_store = site.start(Program::WebStore, &tell_more).unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    // Returned by the broker at first, since nobody is bound to receive it.
    post_form(&web_store, "Wilhelmina Secretperson").await.unwrap();
    eventually(SOON, "it was returned", async || site.logs_contain("outcome=Returned").then_some(()))
        .await
        .unwrap();
    // Rejected by Marketing's database.
    let mut marketing = site.start(Program::Marketing, &tell_more).unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    let rule = "ALTER TABLE customers ADD CONSTRAINT nobody CHECK (full_name NOT LIKE '%Secretperson')";
    sqlx::query(rule).execute(&site.marketing_database()).await.unwrap();
    let _transformer = site.start(Program::Transformer, &tell_more).unwrap();
    eventually(SOON, "it was rejected", async || site.logs_contain("rule-broken").then_some(()))
        .await
        .unwrap();
    for secret in ["Secretperson", "secretperson", "example.org", PASSWORD] {
        assert!(!site.logs_contain(secret), "{secret} in {}", site.log());
    }
}
