//! The books: what `stack reconcile` says of a system in whatever state, and how what is missing comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use console::reconcile::{Report, Sources, reconcile};
use contracts::topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED};
use contracts::{CustomerRegistered, Message};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Executor;
use stack::ports::free_port;
use stack::service::{Program, Service};
use system_tests::broker_client::{open_channel, properties, publish};
use system_tests::customers::{
    http_client, marketing_ids, register, register_at, register_many, wait_for_marketing_rows,
    wait_for_outbox_depth,
};
use system_tests::programs::{self, republish};
use system_tests::reconciliation_sources;
use system_tests::{SOON, TestEnvironment, eventually};
use tokio::time::timeout;

const TO_STOP: Duration = Duration::from_secs(10);

async fn ready(mut service: Service) -> Service {
    service.wait_ready(SOON).await.unwrap();
    service
}

async fn stop(mut service: Service) {
    assert!(service.terminate(TO_STOP).await.unwrap().success());
}

async fn depth_is(site: &TestEnvironment, queue: &str, messages: u64) {
    let what = format!("{messages} messages in {queue}");
    eventually(SOON, &what, async || (site.management().depth(queue).await.ok()? == messages).then_some(()))
        .await
        .unwrap();
}

/// The books of a system in which nothing moves by itself: whoever is nowhere at once is missing.
fn at_rest(site: &TestEnvironment, page: u32) -> Sources {
    Sources { patience: Duration::ZERO, page, ..reconciliation_sources(site.connection_urls()).unwrap() }
}

fn accounted(report: &Report) -> u64 {
    let on_the_way: u64 = report.on_the_way.values().sum();
    let dead_lettered: u64 = report.dead_lettered.values().sum();
    report.arrived + report.in_outbox + on_the_way + dead_lettered + report.missing + report.doubled
}

#[tokio::test]
async fn every_customer_is_in_exactly_one_state() {
    let site = TestEnvironment::new().await.unwrap();
    let (queue_1, queue_2) = (TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER);
    let transformer = ready(site.start_transformer().unwrap()).await;
    let marketing = ready(site.start_marketing().unwrap()).await;
    let web_store = ready(site.start_web_store().unwrap()).await;
    let table = site.marketing_database();
    table.execute("ALTER TABLE customers ADD CHECK (full_name <> 'Test')").await.unwrap();

    let mut arrived = register_many(&web_store, 5).await.unwrap();
    wait_for_marketing_rows(&site, &arrived, SOON).await.unwrap();
    register(&web_store, "Test").await.unwrap();
    depth_is(&site, &queue_2.dead_letter_queue(), 1).await;
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let event = CustomerRegistered::TYPE;
    publish(&channel, CustomerRegistered::EXCHANGE, event, properties(event), b"no JSON").await.unwrap();
    depth_is(&site, &queue_1.dead_letter_queue(), 1).await;
    let doubled = arrived.pop().unwrap();
    let no_key = table.execute("ALTER TABLE customers DROP PRIMARY KEY");
    timeout(SOON, no_key).await.expect("a rejected command leaves no transaction open").unwrap();
    let double = "INSERT INTO customers SELECT * FROM customers WHERE customer_id = ?";
    sqlx::query(double).bind(&doubled).execute(&table).await.unwrap();
    for source in ["web-store", "somewhere-else"] {
        let stranger = "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
            customer_since) VALUES (UUID(), 'Stranger', 'stranger@example.org', false, ?, UTC_TIMESTAMP())";
        sqlx::query(stranger).bind(source).execute(&table).await.unwrap();
    }

    stop(marketing).await;
    let missing = register(&web_store, "Missing").await.unwrap();
    depth_is(&site, queue_2.name, 1).await;
    site.management().purge(queue_2.name).await.unwrap();
    depth_is(&site, queue_2.name, 0).await;
    register(&web_store, "In the second queue").await.unwrap();
    depth_is(&site, queue_2.name, 1).await;
    stop(transformer).await;
    register(&web_store, "In the first queue").await.unwrap();
    depth_is(&site, queue_1.name, 1).await;
    stop(web_store).await;
    let nobody = format!("amqp://nobody:nothing@127.0.0.1:{}/%2f", free_port().unwrap());
    let web_store = ready(site.start(Program::WebStore, &[("WEB_STORE_BROKER_URL", &nobody)]).unwrap()).await;
    register(&web_store, "In the outbox").await.unwrap();

    for page in [1, 2, 3, 100] {
        let report = reconcile(&at_rest(&site, page)).await.unwrap();
        let expected = Report {
            customers: 10,
            arrived: 4,
            in_outbox: 1,
            on_the_way: [(queue_1.name, 1), (queue_2.name, 1)].into(),
            dead_lettered: [("rule-broken".to_owned(), 1)].into(),
            missing: 1,
            doubled: 1,
            missing_ids: vec![missing.parse().unwrap()],
            doubled_ids: vec![doubled.parse().unwrap()],
            unknown_rows: 1,
            dead_letters: [
                (queue_1.dead_letter_queue(), [("not-json".to_owned(), 1)].into()),
                (queue_2.dead_letter_queue(), [("rule-broken".to_owned(), 1)].into()),
            ]
            .into(),
        };
        assert_eq!(report, expected, "pages of {page}");
        // All was put back.
        depth_is(&site, queue_1.name, 1).await;
        depth_is(&site, queue_2.name, 1).await;
    }

    let said = programs::reconcile(&site, &["--patience", "0"]).await.unwrap();
    assert_eq!(said.status, 1);
    for line in [
        "arrived                                                      4",
        "on the way      transformer.customer-registered              1",
        "dead-lettered   rule-broken                                  1",
        "missing                                                      1",
    ] {
        assert!(said.stdout.contains(line), "{line} in\n{}", said.stdout);
    }
    let said = programs::reconcile(&site, &["--patience", "0", "--json"]).await.unwrap();
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.status, &report["missing_ids"]), (1, &json!([missing])));
    let said = programs::reconcile(&site, &["--patience", "0", "--missing-ids"]).await.unwrap();
    assert_eq!((said.status, said.stdout), (1, format!("{missing}\n")));
    assert!(said.stderr.contains("all customers"), "{}", said.stderr);
}

#[tokio::test]
async fn with_two_brokers_the_second_is_looked_into_as_well() {
    let (site, target) = (TestEnvironment::new().await.unwrap(), TestEnvironment::new().await.unwrap());
    let web_store = ready(site.start_web_store().unwrap()).await;
    let (to_target, at_target) = (target.broker_url("transformer"), target.broker_url("marketing"));
    let settings = [("TRANSFORMER_TARGET_BROKER_URL", to_target.as_str())];
    let marketing = site.start(Program::Marketing, &[("MARKETING_BROKER_URL", at_target.as_str())]).unwrap();
    stop(ready(marketing).await).await;
    let _transformer = ready(site.start(Program::Transformer, &settings).unwrap()).await;
    register_many(&web_store, 3).await.unwrap();
    depth_is(&target, MARKETING_CREATE_CUSTOMER.name, 3).await;

    let report = reconcile(&at_rest(&site, 100)).await.unwrap();
    assert_eq!(report.missing, 3, "without the second broker nobody knows");
    let target_broker_url = Some(target.broker_url("admin").parse().unwrap());
    let report = reconcile(&Sources { target_broker_url, ..at_rest(&site, 100) }).await.unwrap();
    assert_eq!(report.on_the_way, [(MARKETING_CREATE_CUSTOMER.name, 3)].into());
    assert!(report.is_consistent());
}

/// Registers people from several browsers at once until it is told to stop; the ids of all who were told.
struct Load {
    stop: Arc<AtomicBool>,
    browsers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(web_store: &Service) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let browsers = (0..8).map(|part| {
            let (stopped, url) = (Arc::clone(&stop), web_store.url());
            tokio::spawn(async move {
                let client = http_client().unwrap();
                let mut ids = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let name = format!("Customer {part} {}", ids.len());
                    ids.push(register_at(&client, &url, &name).await.expect("registered"));
                }
                ids
            })
        });
        Self { browsers: browsers.collect(), stop }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.browsers).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_live_system_under_load_nobody_is_called_missing() {
    let site = TestEnvironment::new().await.unwrap();
    let _transformer = ready(site.start_transformer().unwrap()).await;
    let _marketing = ready(site.start_marketing().unwrap()).await;
    let web_store = ready(site.start_web_store().unwrap()).await;
    let load = Load::start(&web_store);
    let books = Sources { page: 500, ..reconciliation_sources(site.connection_urls()).unwrap() };
    let mut rounds = 0;
    loop {
        let report = reconcile(&books).await.unwrap();
        assert_eq!(report.customers, accounted(&report), "{report}");
        assert!(report.is_consistent(), "{report}");
        assert_eq!(report.unknown_rows, 0, "{report}");
        rounds += 1;
        if report.customers >= 3000 && rounds >= 10 {
            break;
        }
    }
    let ids = load.stop().await;
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    let said = programs::reconcile(&site, &["--json"]).await.unwrap();
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.status, &report["arrived"]), (0, &json!(ids.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_threw_away_under_load_is_found_missing_and_sent_again() {
    let site = TestEnvironment::new().await.unwrap();
    let (queue_1, queue_2) = (TRANSFORMER_CUSTOMER_REGISTERED.name, MARKETING_CREATE_CUSTOMER.name);
    let transformer = ready(site.start_transformer().unwrap()).await;
    let marketing = ready(site.start_marketing().unwrap()).await;
    let web_store = ready(site.start_web_store().unwrap()).await;
    let load = Load::start(&web_store);
    let many_in = async |queue| {
        let many = async || (site.management().depth(queue).await.ok()? >= 50).then_some(());
        eventually(SOON, "a queue has filled", many).await.unwrap();
    };
    stop(marketing).await;
    many_in(queue_2).await;
    site.management().purge(queue_2).await.unwrap();
    stop(transformer).await;
    many_in(queue_1).await;
    site.management().delete_queue(queue_1).await.unwrap();
    let _transformer = ready(site.start_transformer().unwrap()).await;
    let _marketing = ready(site.start_marketing().unwrap()).await;

    let said = programs::reconcile(&site, &["--missing-ids", "--patience", "12"]).await.unwrap();
    assert_eq!(said.status, 1, "{}", said.stderr);
    let mut missing: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
    assert!(missing.len() >= 100, "both queues' messages: {}", said.stderr);

    let told = load.stop().await;
    eventually(SOON, "all others arrive", async || {
        (marketing_ids(&site).await.ok()?.len() == told.len() - missing.len()).then_some(())
    })
    .await
    .unwrap();
    let arrived = marketing_ids(&site).await.unwrap();
    let mut expected: Vec<_> = told.iter().filter(|id| !arrived.contains(id)).cloned().collect();
    expected.sort();
    missing.sort();
    assert_eq!(missing, expected);

    let mended = republish(&site, &[], &said.stdout).await.unwrap();
    assert_eq!(mended.status, 0, "{}", mended.stderr);
    wait_for_marketing_rows(&site, &told, SOON).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
    let said = programs::reconcile(&site, &[]).await.unwrap();
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{}", said.stdout);
}

#[tokio::test]
async fn what_cannot_be_read_gets_a_status_of_its_own_and_shows_no_password() {
    let site = TestEnvironment::new().await.unwrap();
    let port = free_port().unwrap();
    let said = programs::reconcile(&site, &[]).await.unwrap();
    assert_eq!(said.status, 2, "no tables yet: {}", said.stderr);
    let (_web_store, _marketing) =
        (ready(site.start_web_store().unwrap()).await, ready(site.start_marketing().unwrap()).await);
    assert_eq!(programs::reconcile(&site, &[]).await.unwrap().status, 0);
    let unreadable = [
        ("--web-store-database-url", format!("postgres://me:hush@127.0.0.1:{port}/none"), "the Web Store's"),
        (
            "--marketing-database-url",
            format!("mysql://me:hush@127.0.0.1:{port}/none"),
            "Marketing's database",
        ),
        ("--broker-url", format!("amqp://me:hush@127.0.0.1:{port}/none"), "the broker at 127.0.0.1"),
        ("--broker-url", "amqp//me:hush@127.0.0.1".to_owned(), "--broker-url"),
        ("--marketing-database-url", "mysql//me:hush".to_owned(), "--marketing-database-url"),
    ];
    for (setting, url, reason) in unreadable {
        let said = programs::reconcile(&site, &[setting, &url]).await.unwrap();
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{setting}");
        assert!(said.stderr.contains(reason) && !said.stderr.contains("hush"), "{}", said.stderr);
    }
}
