//! How the services start, report their health, log, and stop.

use anyhow::Context;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stack::{
    connection_urls::PASSWORD,
    ports::free_port,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, post_form, register, wait_for_marketing_rows},
    eventually,
    load::RegistrationLoad,
    programs::stop,
};

/// Returns the status and the body of a health check: `live` or `ready`.
async fn health(service: &Service, check: &str) -> anyhow::Result<(StatusCode, Value)> {
    let response = http_client()?.get(format!("{}/health/{check}", service.url())).send().await?;
    Ok((response.status(), response.json().await?))
}

#[tokio::test]
async fn web_store_stays_ready_and_logs_once_without_broker() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let unreachable = format!("amqp://web-store:hush@127.0.0.1:{}/%2f", free_port()?);
    let settings = [("WEB_STORE_BROKER_URL", unreachable.as_str())];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    register(&web_store, "Ann").await?;
    let (status, body) = health(&web_store, "ready").await?;
    assert_eq!((status, &body["parts"]["postgres"]), (StatusCode::OK, &Value::from("up")));
    assert!(body["parts"]["broker"].as_str().unwrap().starts_with("down"), "{body}");
    let connections = ["broker", "replays", "web-store.replay-customers", "web-store.erase-customer"];
    eventually(SOON, "a line about each connection to the broker", async || {
        let log = environment.log();
        connections.iter().all(|name| log.contains(&format!("connection=\"{name}\""))).then_some(())
    })
    .await?;
    let warnings = environment.log().matches(" WARN ").count();
    assert_eq!(warnings, connections.len(), "the number of lines depends on the number of attempts");
    assert!(!environment.logs_contain("hush"));
    Ok(())
}

#[tokio::test]
async fn service_without_servers_is_live_not_ready_and_stops() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let broker = format!("amqp://unknown:hush@127.0.0.1:{}/%2f", free_port()?);
    let database = format!("mysql://unknown:hush@127.0.0.1:{}/none", free_port()?);
    let transformer =
        environment.start(Program::Transformer, &[("TRANSFORMER_SOURCE_BROKER_URL", &broker)])?;
    let databases =
        [("MARKETING_DATABASE_URL", database.as_str()), ("MARKETING_OWNER_DATABASE_URL", &database)];
    let marketing = environment.start(Program::Marketing, &databases)?;
    for service in [transformer, marketing] {
        let (live, _) =
            eventually(SOON, "the service is live", async || health(&service, "live").await.ok()).await?;
        assert_eq!(live, StatusCode::OK);
        let (ready, body) = health(&service, "ready").await?;
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        stop(service).await?;
    }
    assert!(!environment.logs_contain("hush"));
    Ok(())
}

#[tokio::test]
async fn empty_variable_counts_as_unset() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("TRANSFORMER_TARGET_BROKER_URL", ""), ("RUST_LOG", "")];
    let _transformer = environment.start_ready(Program::Transformer, &settings).await?;
    let web_store = environment.start_ready(Program::WebStore, &[("TRUSTED_PROXIES", "")]).await?;
    let settings = [("MARKETING_OPERATOR_PASSWORD_HASH", ""), ("TRUSTED_PROXIES", "")];
    let _marketing = environment.start_ready(Program::Marketing, &settings).await?;
    let ids = [register(&web_store, "Ann").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await
}

#[tokio::test]
async fn sigterm_under_load_loses_nothing() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let mut services = Vec::new();
    for program in Program::ALL {
        services.push(environment.start_ready(program, &[]).await?);
    }
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(register(&services[0], &format!("Customer {n}")).await?);
    }
    for service in services {
        stop(service).await?;
    }
    let _services =
        [environment.start_web_store()?, environment.start_transformer()?, environment.start_marketing()?];
    wait_for_marketing_rows(&environment, &ids, SOON).await
}

#[tokio::test]
async fn draining_service_fails_no_request() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    // Longer than the test, on a machine of any speed.
    let settings = [("SHUTDOWN_DELAY_SECONDS", "600")];
    let mut web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let load = RegistrationLoad::start(&web_store, 8)?;
    load.wait_for_more(20, SOON).await?;
    let pid = Pid::from_raw(web_store.process.pid()).context("no process id")?;
    kill_process(pid, Signal::TERM)?;
    eventually(SOON, "the Web Store is not ready", async || {
        let (status, _) = health(&web_store, "ready").await.ok()?;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await?;
    load.wait_for_more(20, SOON).await?;
    assert_eq!(load.stop().await?.failures, 0);
    let status = web_store.terminate(SOON).await?;
    assert_eq!(status.code(), Some(1), "the second signal ends the process immediately");
    let settings = [("SHUTDOWN_DELAY_SECONDS", "1")];
    stop(environment.start_ready(Program::Transformer, &settings).await?).await
}

#[tokio::test]
async fn logs_contain_no_personal_data_and_no_password() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("RUST_LOG", "info")];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    // The broker returns the event at first, because no queue is bound.
    post_form(&web_store, "Wilhelmina Secretperson").await?;
    let returned = async || environment.logs_contain("outcome=Returned").then_some(());
    eventually(SOON, "the broker returns the event", returned).await?;
    // Marketing's database rejects the row.
    let _marketing = environment.start_ready(Program::Marketing, &settings).await?;
    let rule = "ALTER TABLE customers ADD CONSTRAINT no_secret CHECK (full_name NOT LIKE '%Secretperson')";
    sqlx::query(rule).execute(&environment.marketing_database()).await?;
    let _transformer = environment.start(Program::Transformer, &settings)?;
    let rejected = async || environment.logs_contain("rule-broken").then_some(());
    eventually(SOON, "Marketing rejects the command", rejected).await?;
    for secret in ["Secretperson", "secretperson", "example.org", PASSWORD] {
        assert!(!environment.logs_contain(secret), "{secret} is in the logs");
    }
    Ok(())
}
