//! The guarantees in the table of README.md that need a server failure. Most tests have private servers.

use std::time::Duration;

use contracts::{
    CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use futures_util::future::try_join_all;
use lapin::{Confirmation, ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable};
use reqwest::{StatusCode, header};
use stack::{
    servers::Servers,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish_mandatory},
    customers::{
        http_client, marketing_ids, post_form, register, register_at, register_many, wait_for_marketing_rows,
        wait_for_outbox_depth,
    },
    eventually,
    load::RegistrationLoad,
    programs::stop,
};
use tempfile::TempDir;

/// Exceeds the time in which a killed server restarts on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);

/// Servers that a test may stop and kill. Their directory is removed when the value is dropped.
async fn start_servers() -> anyhow::Result<(TempDir, Servers)> {
    let directory = tempfile::tempdir()?;
    let servers = Servers::start(directory.path(), |_| ()).await?;
    Ok((directory, servers))
}

/// Starts one instance of each service and waits until all are ready.
async fn start_services(environment: &TestEnvironment) -> anyhow::Result<[Service; 3]> {
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    Ok([web_store, transformer, marketing])
}

#[tokio::test]
async fn form_returns_503_and_keeps_input_while_postgres_is_down() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    register(&web_store, "Before").await?;

    servers.postgres.process.pause();
    assert_refused(&web_store, "While Frozen").await?;
    servers.postgres.process.resume();
    servers.postgres.process.kill().await?;
    assert_refused(&web_store, "While Down").await?;
    servers.postgres.restart().await?;

    let succeeds = async || register(&web_store, "After").await.ok();
    eventually(RECOVERY, "registration succeeds again", succeeds).await?;
    let select = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(select).fetch_one(&environment.web_store_database()).await?;
    assert_eq!(counts.0, counts.1, "a customer without an event, or an event without a customer");
    Ok(())
}

async fn assert_refused(web_store: &Service, name: &str) -> anyhow::Result<()> {
    let response = post_form(web_store, name).await?;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    let page = response.text().await?;
    assert!(page.contains(&format!("value=\"{name}\"")) && page.contains("again in a few seconds"), "{page}");
    assert!(!page.contains("Postgres") && !page.contains("127.0.0.1"), "the page shows internals: {page}");
    Ok(())
}

#[tokio::test]
async fn refused_registrations_are_summarized_in_log() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    servers.postgres.process.kill().await?;
    let lines_before = environment.log().lines().count();
    let requests = (0..200).map(async |n| post_form(&web_store, &format!("Customer {n}")).await);
    let refused = try_join_all(requests).await?;
    assert!(refused.iter().all(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE));
    let lines = environment.log().lines().count() - lines_before;
    assert!(environment.logs_contain("registration failed"));
    assert!(lines <= 10, "{lines} lines about 200 refused registrations");

    servers.postgres.restart().await?;
    let succeeds = async || register(&web_store, "After").await.ok();
    eventually(RECOVERY, "registration succeeds", succeeds).await?;
    let logged = async || environment.logs_contain("registration succeeds again").then_some(());
    eventually(SOON, "a line about the recovery", logged).await?;
    assert_eq!(environment.log().matches("registration succeeds again").count(), 1);
    Ok(())
}

#[tokio::test]
async fn registration_continues_while_broker_is_down_or_blocked() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let services = start_services(&environment).await?;
    let web_store = &services[0];
    let mut ids = register_many(web_store, 3).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;

    servers.broker.process.kill().await?;
    for n in 0..5 {
        ids.push(register(web_store, &format!("While down {n}")).await?);
    }
    wait_for_outbox_depth(&environment, 5, SOON).await?;
    servers.broker.restart().await?;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await?;

    servers.broker.set_memory_alarm(true).await?;
    for n in 0..5 {
        ids.push(register(web_store, &format!("While blocked {n}")).await?);
    }
    // A blocked broker accepts at most the first event of a connection, and the transformer takes it.
    environment.management().wait_for_depth(TRANSFORMER_CUSTOMER_REGISTERED.name, 0).await?;
    servers.broker.set_memory_alarm(false).await?;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await
}

#[tokio::test]
async fn event_confirmed_by_new_queue_survives_broker_kill() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let exchange = CustomerRegistered::EXCHANGE;
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    let _transformer = environment.start_transformer()?;
    let (event, key) = (
        include_str!("../../../../contracts/samples/web-store.customer-registered.v1.json"),
        CustomerRegistered::TYPE,
    );
    eventually(SOON, "the new queue accepts the event", async || {
        let confirmation =
            publish_mandatory(&channel, exchange, key, properties(key), event.as_bytes()).await;
        (confirmation.ok()? == Confirmation::Ack(None)).then_some(())
    })
    .await?;
    servers.broker.process.kill().await?;
    servers.broker.restart().await?;
    let event: CustomerRegistered = serde_json::from_str(event)?;
    wait_for_marketing_rows(&environment, &[event.customer_id.to_string()], RECOVERY).await
}

#[tokio::test]
async fn marketing_holds_messages_while_mysql_is_down() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let mut ids = vec![register(&web_store, "Before").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;

    servers.mysql.process.kill().await?;
    for n in 0..20 {
        ids.push(register(&web_store, &format!("While down {n}")).await?);
    }
    let (management, queue) = (environment.management(), MARKETING_CREATE_CUSTOMER);
    eventually(SOON, "Marketing holds messages, and the others wait", async || {
        let queues = management.queues().await.ok()?;
        let held = queues.get(queue.name)?;
        (held.messages == 20 && held.messages_unacknowledged > 0).then_some(())
    })
    .await?;
    servers.mysql.restart().await?;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await?;
    assert_eq!(management.depth(&queue.dead_letter_queue()).await?, 0);
    Ok(())
}

#[tokio::test]
async fn marketing_logs_when_it_processes_held_messages_again() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let services = start_services(&environment).await?;
    servers.mysql.process.kill().await?;
    let ids = register_many(&services[0], 3).await?;
    let held = async || environment.logs_contain("holding messages; trying again").then_some(());
    eventually(SOON, "a line about held messages", held).await?;
    assert!(!environment.logs_contain("processing messages again"));
    servers.mysql.restart().await?;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await?;
    let processed = async || environment.logs_contain("processing messages again").then_some(());
    eventually(SOON, "a line about the recovery", processed).await
}

#[tokio::test]
async fn kill_9_of_any_process_loses_and_duplicates_nothing() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let [mut web_store, mut transformer, mut marketing] = start_services(&environment).await?;
    let load = RegistrationLoad::start(&web_store, 1)?;
    let wait_for_more = async || load.wait_for_more(20, RECOVERY).await;
    let address = web_store.address();
    for _ in 0..2 {
        web_store.kill().await?;
        web_store = environment.start_at(address, Program::WebStore, &[])?;
        wait_for_more().await?;
        transformer.kill().await?;
        wait_for_more().await?;
        transformer = environment.start_transformer()?;
        wait_for_more().await?;
        marketing.kill().await?;
        wait_for_more().await?;
        marketing = environment.start_marketing()?;
        wait_for_more().await?;
        servers.broker.process.kill().await?;
        servers.broker.restart().await?;
        wait_for_more().await?;
        servers.mysql.process.kill().await?;
        servers.mysql.restart().await?;
        wait_for_more().await?;
        servers.postgres.process.kill().await?;
        servers.postgres.restart().await?;
        wait_for_more().await?;
    }
    let confirmed = load.stop().await?.confirmed;
    let select = sqlx::query_scalar("SELECT id::text FROM customers");
    let saved: Vec<String> = select.fetch_all(&environment.web_store_database()).await?;
    assert!(confirmed.iter().all(|id| saved.contains(id)), "a confirmed customer is not saved");
    // A customer whose confirmation was lost may be saved too. Marketing must have exactly the saved ones.
    wait_for_marketing_rows(&environment, &saved, RECOVERY).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await
}

#[tokio::test]
async fn any_start_order_loses_nothing() -> anyhow::Result<()> {
    let (_directory, mut servers) = start_servers().await?;
    let environment = TestEnvironment::on(&servers).await?;
    let client = http_client()?;
    let mut ids = Vec::new();
    // Each letter is a server (PostgreSQL, MySQL, broker) or a service (Web Store, transformer, Marketing).
    for (round, order) in ["wtmbps", "bmtwsp", "pwsmtb", "smpbtw"].into_iter().enumerate() {
        servers.broker.process.kill().await?;
        servers.postgres.process.kill().await?;
        servers.mysql.process.kill().await?;
        let mut services: Vec<Service> = Vec::new();
        let mut web_store_url = None;
        for part in order.chars() {
            let program = match part {
                'p' => {
                    servers.postgres.restart().await?;
                    None
                }
                's' => {
                    servers.mysql.restart().await?;
                    None
                }
                'b' => {
                    servers.broker.restart().await?;
                    None
                }
                'w' => Some(Program::WebStore),
                't' => Some(Program::Transformer),
                'm' => Some(Program::Marketing),
                _ => unreachable!("an unknown letter"),
            };
            if let Some(program) = program {
                let mut service = environment.start(program, &[])?;
                service.wait_live(SOON).await?;
                if part == 'w' {
                    web_store_url = Some(service.url());
                }
                services.push(service);
            }
            if let Some(url) = &web_store_url {
                ids.extend(register_at(&client, url, &format!("Round {round} after {part}")).await);
            }
        }
        let url = web_store_url.unwrap();
        let name = format!("Round {round} at last");
        let succeeds = async || register_at(&client, &url, &name).await.ok();
        ids.push(eventually(RECOVERY, "registration succeeds", succeeds).await?);
        eventually(RECOVERY, "all confirmed customers are in Marketing", async || {
            let arrived = marketing_ids(&environment).await.ok()?;
            ids.iter().all(|id| arrived.contains(id)).then_some(())
        })
        .await?;
        for service in services {
            stop(service).await?;
        }
    }
    let dead_letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    assert_eq!(environment.management().depth(&dead_letters).await?, 0);
    Ok(())
}
