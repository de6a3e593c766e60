//! What the system promises, row by row, where servers have to fail: each test has servers of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED};
use contracts::{CustomerRegistered, Message};
use faults::proxy::{Protocol, Proxy};
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Confirmation, ExchangeKind};
use reqwest::{StatusCode, header};
use stack::broker::Broker;
use stack::connection_urls::PASSWORD;
use stack::ports::free_port;
use stack::servers::Servers;
use stack::service::{Program, Service};
use system_tests::broker_client::{open_channel, properties, publish_mandatory};
use system_tests::customers::{
    http_client, marketing_ids, post_form, register, register_at, register_many, wait_for_marketing_rows,
    wait_for_outbox_depth,
};
use system_tests::{SOON, TestEnvironment, eventually};
use tempfile::TempDir;

/// Servers take their time to come back on a busy machine.
const BACK: Duration = Duration::from_secs(90);

async fn servers() -> (Servers, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Servers::start(directory.path(), |_| ()).await.unwrap(), directory)
}

async fn ready(mut service: Service) -> Service {
    service.wait_ready(SOON).await.unwrap();
    service
}

#[tokio::test]
async fn while_postgres_is_down_the_form_answers_503_with_what_was_typed_and_nothing_is_half_saved() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    register(&web_store, "Before").await.unwrap();

    servers.postgres.process.pause();
    assert_refused(&web_store, "While Frozen").await;
    servers.postgres.process.resume();
    servers.postgres.process.kill().await.unwrap();
    assert_refused(&web_store, "While Away").await;
    servers.postgres.restart().await.unwrap();

    let client = http_client().unwrap();
    let back = async || register_at(&client, &web_store.url(), "After").await.ok();
    eventually(BACK, "registering works again", back).await.unwrap();
    let counts = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM outbox)";
    let counts: (i64, i64) = sqlx::query_as(counts).fetch_one(&site.web_store_database()).await.unwrap();
    assert_eq!(counts.0, counts.1, "each customer has their event: nothing is half saved");
}

async fn assert_refused(web_store: &Service, name: &str) {
    let answer = post_form(web_store, name).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    let page = answer.text().await.unwrap();
    assert!(page.contains(&format!("value=\"{name}\"")) && page.contains("again in a few seconds"), "{page}");
    assert!(!page.contains("Postgres") && !page.contains("127.0.0.1"), "an internal: {page}");
}

#[tokio::test]
async fn while_the_broker_is_down_or_blocked_registering_goes_on_and_events_wait_in_the_outbox() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    let _transformer = ready(site.start_transformer().unwrap()).await;
    let _marketing = ready(site.start_marketing().unwrap()).await;
    let mut ids = register_many(&web_store, 3).await.unwrap();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();

    servers.broker.process.kill().await.unwrap();
    for n in 0..5 {
        ids.push(register(&web_store, &format!("While down {n}")).await.unwrap());
    }
    wait_for_outbox_depth(&site, 5, SOON).await.unwrap();
    servers.broker.restart().await.unwrap();
    wait_for_marketing_rows(&site, &ids, BACK).await.unwrap();

    servers.broker.set_memory_alarm(true).await.unwrap();
    for n in 0..5 {
        ids.push(register(&web_store, &format!("While blocked {n}")).await.unwrap());
    }
    assert_eq!(site.management().depth(TRANSFORMER_CUSTOMER_REGISTERED.name).await.unwrap(), 0);
    servers.broker.set_memory_alarm(false).await.unwrap();
    wait_for_marketing_rows(&site, &ids, BACK).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
}

#[tokio::test]
async fn what_a_new_queue_has_confirmed_survives_a_kill_9_of_the_broker_right_then() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let _marketing = ready(site.start_marketing().unwrap()).await;
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let events = CustomerRegistered::EXCHANGE.into();
    channel.exchange_declare(events, ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    let _transformer = site.start_transformer().unwrap();
    let event = include_str!("../../../contracts/samples/web-store.customer-registered.v1.json");
    let (exchange, key) = (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE);
    eventually(SOON, "a new queue takes the event", async || {
        let sent =
            publish_mandatory(&channel, exchange, key, properties(key), event.as_bytes()).await.ok()?;
        (sent == Confirmation::Ack(None)).then_some(())
    })
    .await
    .unwrap();
    servers.broker.process.kill().await.unwrap();
    servers.broker.restart().await.unwrap();
    let event: CustomerRegistered = serde_json::from_str(event).unwrap();
    wait_for_marketing_rows(&site, &[event.customer_id.to_string()], BACK).await.unwrap();
}

#[tokio::test]
async fn while_mysql_is_down_marketing_holds_what_it_has_and_nothing_is_dead_lettered() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    let _transformer = ready(site.start_transformer().unwrap()).await;
    let _marketing = ready(site.start_marketing().unwrap()).await;
    let mut ids = vec![register(&web_store, "Before").await.unwrap()];
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();

    servers.mysql.process.kill().await.unwrap();
    for n in 0..20 {
        ids.push(register(&web_store, &format!("While down {n}")).await.unwrap());
    }
    let queue = MARKETING_CREATE_CUSTOMER;
    eventually(SOON, "Marketing holds the messages", async || {
        let queues = site.management().queues().await.ok()?;
        (queues.get(queue.name)?.messages_unacknowledged == 20).then_some(())
    })
    .await
    .unwrap();
    servers.mysql.restart().await.unwrap();
    wait_for_marketing_rows(&site, &ids, BACK).await.unwrap();
    assert_eq!(site.management().depth(&queue.dead_letter_queue()).await.unwrap(), 0);
}

#[tokio::test]
async fn after_kill_9_of_any_process_at_any_moment_nothing_is_lost_and_nothing_is_doubled() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let mut web_store = ready(site.start_web_store().unwrap()).await;
    let mut transformer = ready(site.start_transformer().unwrap()).await;
    let mut marketing = ready(site.start_marketing().unwrap()).await;
    let load = Load::start(web_store.url());
    let address = web_store.address();
    for _ in 0..2 {
        web_store.process.kill().await.unwrap();
        web_store = site.start_at(address, Program::WebStore, &[]).unwrap();
        load.goes_on().await;
        transformer.kill().await.unwrap();
        load.goes_on().await;
        transformer = site.start_transformer().unwrap();
        load.goes_on().await;
        marketing.kill().await.unwrap();
        load.goes_on().await;
        marketing = site.start_marketing().unwrap();
        load.goes_on().await;
        servers.broker.process.kill().await.unwrap();
        servers.broker.restart().await.unwrap();
        load.goes_on().await;
        servers.mysql.process.kill().await.unwrap();
        servers.mysql.restart().await.unwrap();
        load.goes_on().await;
        servers.postgres.process.kill().await.unwrap();
        servers.postgres.restart().await.unwrap();
        load.goes_on().await;
    }
    let told = load.stop().await;
    let saved: Vec<String> = sqlx::query_scalar("SELECT id::text FROM customers")
        .fetch_all(&site.web_store_database())
        .await
        .unwrap();
    assert!(told.iter().all(|id| saved.contains(id)), "who was told is saved");
    // A customer may be saved whose answer got lost; Marketing has exactly the saved ones.
    wait_for_marketing_rows(&site, &saved, BACK).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
}

/// Registers people one after another, and keeps the ids of those who were told that they are.
struct Load {
    told: tokio::sync::watch::Receiver<Vec<String>>,
    stop: Arc<AtomicBool>,
    registering: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(web_store: String) -> Self {
        let (sender, told) = tokio::sync::watch::channel(Vec::new());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let registering = tokio::spawn(async move {
            let client = http_client().unwrap();
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                match register_at(&client, &web_store, &format!("Customer {n}")).await {
                    Ok(id) => sender.send_modify(|told| told.push(id)),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Self { told, stop, registering }
    }

    /// Waits until 20 more have been registered.
    async fn goes_on(&self) {
        let before = self.told.borrow().len();
        let more = async || (self.told.borrow().len() >= before + 20).then_some(());
        eventually(BACK, "registering goes on", more).await.unwrap();
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.registering.await.unwrap();
        self.told.borrow().clone()
    }
}

#[tokio::test]
async fn any_start_order_of_the_six_parts_loses_nothing() {
    let (mut servers, _directory) = servers().await;
    let site = TestEnvironment::on(&servers).await.unwrap();
    let client = http_client().unwrap();
    let mut ids = Vec::new();
    for (round, order) in ["wtmbps", "bmtwsp", "pwsmtb", "smpbtw"].into_iter().enumerate() {
        servers.broker.process.kill().await.unwrap();
        servers.postgres.process.kill().await.unwrap();
        servers.mysql.process.kill().await.unwrap();
        let mut services: Vec<(char, Service)> = Vec::new();
        for part in order.chars() {
            match part {
                'p' => servers.postgres.restart().await.unwrap(),
                's' => servers.mysql.restart().await.unwrap(),
                'b' => servers.broker.restart().await.unwrap(),
                'w' => services.push((part, alive(site.start_web_store().unwrap()).await)),
                't' => services.push((part, alive(site.start_transformer().unwrap()).await)),
                'm' => services.push((part, alive(site.start_marketing().unwrap()).await)),
                _ => unreachable!("a part"),
            }
            if let Some((_, web_store)) = services.iter().find(|(part, _)| *part == 'w') {
                let name = format!("Round {round} after {part}");
                ids.extend(register_at(&client, &web_store.url(), &name).await);
            }
        }
        let (_, web_store) = services.iter().find(|(part, _)| *part == 'w').unwrap();
        let name = format!("Round {round} at last");
        let last = async || register_at(&client, &web_store.url(), &name).await.ok();
        ids.push(eventually(BACK, "the Web Store registers", last).await.unwrap());
        for id in &ids {
            eventually(BACK, "everybody who was told is in Marketing", async || {
                marketing_ids(&site).await.ok()?.contains(id).then_some(())
            })
            .await
            .unwrap();
        }
        for (_, mut service) in services {
            assert!(service.terminate(Duration::from_secs(10)).await.unwrap().success());
        }
    }
    assert_eq!(site.management().depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue()).await.unwrap(), 0);
}

/// A pause until it answers at all, whatever else is missing.
async fn alive(service: Service) -> Service {
    let check = format!("{}/health/live", service.url());
    let answers = async || http_client().unwrap().get(&check).send().await.is_ok().then_some(());
    eventually(SOON, "it lives", answers).await.unwrap();
    service
}

#[tokio::test]
async fn with_two_brokers_a_cut_link_to_one_of_them_loses_nothing() {
    let site = TestEnvironment::new().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let target = Broker::start(directory.path(), free_port().unwrap(), free_port().unwrap()).await.unwrap();
    let link = Proxy::to(target.port(), Protocol::Amqp).await.unwrap();
    let url = |user, port| format!("amqp://{user}:{PASSWORD}@127.0.0.1:{port}/%2f");
    let to_target = url("transformer", link.port());
    let web_store = ready(site.start_web_store().unwrap()).await;
    let settings = [("TRANSFORMER_TARGET_BROKER_URL", to_target.as_str())];
    let transformer = ready(site.start(Program::Transformer, &settings).unwrap()).await;
    let at_target = url("marketing", target.port());
    let _marketing =
        ready(site.start(Program::Marketing, &[("MARKETING_BROKER_URL", at_target.as_str())]).unwrap()).await;
    let mut ids = register_many(&web_store, 5).await.unwrap();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();

    link.cut();
    let health = format!("{}/health/ready", transformer.url());
    eventually(SOON, "the transformer misses its target", async || {
        (http_client().unwrap().get(&health).send().await.ok()?.status() == StatusCode::SERVICE_UNAVAILABLE)
            .then_some(())
    })
    .await
    .unwrap();
    for n in 0..5 {
        ids.push(register(&web_store, &format!("While cut {n}")).await.unwrap());
    }
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
    eventually(SOON, "the events wait at the source", async || {
        (site.management().depth(TRANSFORMER_CUSTOMER_REGISTERED.name).await.ok()? == 5).then_some(())
    })
    .await
    .unwrap();
    link.restore();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}
