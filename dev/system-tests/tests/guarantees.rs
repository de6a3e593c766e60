//! What the system promises, row by row of the table in ARCHITECTURE.md, where shared servers will do.

use std::time::Duration;

use contracts::topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED};
use contracts::{CreateCustomer, CustomerRegistered, Message};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::{Value, json};
use stack::service::Service;
use system_tests::broker_client::{open_channel, properties, publish};
use system_tests::customers::{
    outbox_depth, register, register_many, wait_for_marketing_rows, wait_for_outbox_depth,
};
use system_tests::{SOON, TestEnvironment, eventually};

struct System {
    web_store: Service,
    transformer: Service,
    marketing: Service,
}

async fn start(site: &TestEnvironment) -> System {
    let mut system = System {
        web_store: site.start_web_store().unwrap(),
        transformer: site.start_transformer().unwrap(),
        marketing: site.start_marketing().unwrap(),
    };
    for service in [&mut system.web_store, &mut system.transformer, &mut system.marketing] {
        service.wait_ready(SOON).await.unwrap();
    }
    system
}

#[tokio::test]
async fn a_burst_of_2000_registrations_makes_2000_rows_and_none_twice() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let burst = futures_util::future::join_all((0..8).map(|part| {
        let web_store = &system.web_store;
        async move {
            let client = system_tests::customers::http_client().unwrap();
            let mut ids = Vec::new();
            for n in 0..250 {
                let name = format!("Customer {part} {n:03}");
                let id = system_tests::customers::register_at(&client, &web_store.url(), &name).await;
                ids.push(id.expect("registered"));
            }
            ids
        }
    }));
    let ids = burst.await.concat();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
}

#[tokio::test]
async fn an_event_nobody_is_bound_to_receive_stays_in_the_outbox_and_is_tried_again() {
    let site = TestEnvironment::new().await.unwrap();
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    let ids = register_many(&web_store, 5).await.unwrap();
    eventually(SOON, "the relay has found nobody bound", async || {
        site.logs_contain("the broker does not take these events").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(outbox_depth(&site).await.unwrap(), 5);

    let (_transformer, _marketing) = (site.start_transformer().unwrap(), site.start_marketing().unwrap());
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
}

#[tokio::test]
async fn an_event_that_the_broker_refuses_stays_in_the_outbox_and_is_tried_again() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let (_connection, channel) = open_channel(&site).await.unwrap();
    // A queue that is full from the start and says no: the broker then nacks the publish.
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(0));
    full.insert("x-overflow".into(), AMQPValue::LongString(LongString::from("reject-publish")));
    channel.queue_declare("full".into(), QueueDeclareOptions::default(), full).await.unwrap();
    let key = CustomerRegistered::TYPE.into();
    let (exchange, options) = (CustomerRegistered::EXCHANGE.into(), QueueBindOptions::default());
    channel.queue_bind("full".into(), exchange, key, options, FieldTable::default()).await.unwrap();

    let id = register(&system.web_store, "Ann").await.unwrap();
    eventually(SOON, "the broker has refused", async || site.logs_contain("outcome=Nacked").then_some(()))
        .await
        .unwrap();
    assert_eq!(outbox_depth(&site).await.unwrap(), 1);

    site.management().delete_queue("full").await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
    wait_for_marketing_rows(&site, &[id], SOON).await.unwrap();
}

#[tokio::test]
async fn while_the_transformer_or_marketing_is_down_messages_wait_in_their_durable_queue() {
    let site = TestEnvironment::new().await.unwrap();
    let mut system = start(&site).await;
    assert!(system.transformer.terminate(Duration::from_secs(10)).await.unwrap().success());
    let mut ids = register_many(&system.web_store, 3).await.unwrap();
    depth_is(&site, TRANSFORMER_CUSTOMER_REGISTERED.name, 3).await;

    assert!(system.marketing.terminate(Duration::from_secs(10)).await.unwrap().success());
    let _transformer = site.start_transformer().unwrap();
    depth_is(&site, MARKETING_CREATE_CUSTOMER.name, 3).await;

    ids.push(register(&system.web_store, "Ann").await.unwrap());
    let _marketing = site.start_marketing().unwrap();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}

#[tokio::test]
async fn an_event_that_can_never_succeed_goes_to_the_dead_letters_and_holds_up_nobody() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let event =
        contracts_sample(include_str!("../../../contracts/samples/web-store.customer-registered.v1.json"));
    let mut without_email = event.clone();
    without_email.as_object_mut().unwrap().remove("email");
    let own = CustomerRegistered::TYPE;
    let bad: [(&str, &str, Vec<u8>); 6] = [
        (own, "not-json", b"{\"customer_id\":".to_vec()),
        (own, "not-json", b"\xff\xfe".to_vec()),
        (own, "wrong-shape", without_email.to_string().into_bytes()),
        ("web-store.customer-registered.v2", "unknown-version", event.to_string().into_bytes()),
        ("web-store.customer-registered.vx", "unknown-type", event.to_string().into_bytes()),
        ("", "unknown-type", event.to_string().into_bytes()),
    ];
    let ids = dead_letter(&site, &system, &TRANSFORMER_CUSTOMER_REGISTERED, &bad).await;
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}

#[tokio::test]
async fn a_command_that_can_never_succeed_goes_to_the_dead_letters_and_holds_up_nobody() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    // A rule that only the database knows: the batch is rejected, and only the offender goes.
    let rule = "ALTER TABLE customers ADD CONSTRAINT no_test_names CHECK (full_name <> 'Test')";
    sqlx::query(rule).execute(&site.marketing_database()).await.unwrap();
    let command =
        contracts_sample(include_str!("../../../contracts/samples/marketing.create-customer.v1.json"));
    let with = |field: &str, value: Value| {
        let mut command = command.clone();
        command[field] = value;
        command.to_string().into_bytes()
    };
    let own = CreateCustomer::TYPE;
    let bad: [(&str, &str, Vec<u8>); 6] = [
        (own, "not-json", b"customer".to_vec()),
        (own, "wrong-shape", with("customer_since", json!("yesterday"))),
        (own, "rule-broken", with("full_name", json!(" "))),
        (own, "rule-broken", with("full_name", json!("x".repeat(201)))),
        (own, "rule-broken", with("full_name", json!("Test"))),
        ("marketing.create-customer.v9", "unknown-version", command.to_string().into_bytes()),
    ];
    let ids = dead_letter(&site, &system, &MARKETING_CREATE_CUSTOMER, &bad).await;
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}

/// Puts bad messages between good ones and looks for them among the dead letters, untouched and with
/// their reason; returns the good ones.
async fn dead_letter(
    site: &TestEnvironment,
    system: &System,
    queue: &contracts::topology::Queue,
    bad: &[(&str, &str, Vec<u8>)],
) -> Vec<String> {
    let (_connection, channel) = open_channel(site).await.unwrap();
    let mut ids = Vec::new();
    for (n, (message_type, _, body)) in bad.iter().enumerate() {
        publish(&channel, queue.exchange, queue.routing_key, properties(message_type), body).await.unwrap();
        ids.push(register(&system.web_store, &format!("Neighbour {n}")).await.unwrap());
    }
    let dead_letters = queue.dead_letter_queue();
    depth_is(site, &dead_letters, bad.len() as u64).await;
    let found = site.management().take(&dead_letters, 100).await.unwrap();
    for (message_type, code, body) in bad {
        let letter = found.iter().find(|letter| {
            let headers = &letter.properties["headers"];
            letter.body().unwrap() == *body
                && headers["rejection-code"] == *code
                && letter.properties["type"] == *message_type
        });
        let letter = letter.unwrap_or_else(|| panic!("{code} of type {message_type} in {found:#?}"));
        let headers = &letter.properties["headers"];
        assert_eq!(headers["from"], "a test", "the original's headers stay");
        assert_eq!(headers["rejected-from"], queue.name);
        assert!(headers["rejection-reason"].is_string() && headers["rejected-at"].is_string());
        assert_eq!(letter.properties["message_id"], "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71");
    }
    ids
}

#[tokio::test]
async fn a_duplicate_delivery_makes_no_second_row_and_no_error() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let event = include_str!("../../../contracts/samples/web-store.customer-registered.v1.json");
    let command = include_str!("../../../contracts/samples/marketing.create-customer.v1.json");
    for _ in 0..3 {
        let own = properties(CustomerRegistered::TYPE);
        publish(&channel, CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE, own, event.as_bytes())
            .await
            .unwrap();
        let own = properties(CreateCustomer::TYPE);
        publish(&channel, CreateCustomer::EXCHANGE, CreateCustomer::TYPE, own, command.as_bytes())
            .await
            .unwrap();
    }
    let sample = contracts_sample(event)["customer_id"].as_str().unwrap().to_owned();
    let ids = [sample, register(&system.web_store, "Ann").await.unwrap()];
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    for queue in [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER] {
        depth_is(&site, queue.name, 0).await;
        depth_is(&site, &queue.dead_letter_queue(), 0).await;
    }
}

#[tokio::test]
async fn an_event_always_makes_the_same_command_in_the_same_flow() {
    let site = TestEnvironment::new().await.unwrap();
    let mut transformer = site.start_transformer().unwrap();
    transformer.wait_ready(SOON).await.unwrap();
    let mut marketing = site.start_marketing().unwrap();
    marketing.wait_ready(SOON).await.unwrap();
    marketing.kill().await.unwrap();
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let event = include_str!("../../../contracts/samples/web-store.customer-registered.v1.json");
    for _ in 0..2 {
        let own = properties(CustomerRegistered::TYPE).with_correlation_id("flow-7".into());
        publish(&channel, CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE, own, event.as_bytes())
            .await
            .unwrap();
    }
    depth_is(&site, MARKETING_CREATE_CUSTOMER.name, 2).await;
    let commands = site.management().take(MARKETING_CREATE_CUSTOMER.name, 2).await.unwrap();
    assert_eq!(commands[0].properties["message_id"], commands[1].properties["message_id"]);
    for command in commands {
        let sample = include_str!("../../../contracts/samples/marketing.create-customer.v1.json");
        assert_eq!(command.payload, sample.trim_end());
        let properties = &command.properties;
        assert_eq!(properties["type"], CreateCustomer::TYPE);
        assert_eq!(properties["content_type"], "application/json");
        assert_eq!(properties["delivery_mode"], 2);
        assert_eq!(properties["correlation_id"], "flow-7");
        assert_eq!(properties["app_id"], "transformer");
        assert_eq!(properties["headers"]["causation-id"], "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71");
        assert!(properties["headers"]["traceparent"].is_string());
    }
}

#[tokio::test]
async fn when_a_queue_is_deleted_the_session_is_rebuilt_from_nothing() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let mut ids = vec![register(&system.web_store, "Before").await.unwrap()];
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    for queue in [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER] {
        site.management().delete_queue(queue.name).await.unwrap();
        ids.push(register(&system.web_store, &format!("After {}", queue.name)).await.unwrap());
        wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn when_the_broker_closes_connections_the_sessions_are_rebuilt_from_nothing() {
    let site = TestEnvironment::new().await.unwrap();
    let system = start(&site).await;
    let mut ids = Vec::new();
    for round in 0..3 {
        // The relay's, two for each of the transformer's routes, one for each of Marketing's commands.
        eventually(SOON, "seven connections", async || {
            (site.management().connections().await.ok()?.len() == 7).then_some(())
        })
        .await
        .unwrap();
        ids.push(register(&system.web_store, &format!("Before {round}")).await.unwrap());
        assert!(site.management().close_connections().await.unwrap() >= 7);
        ids.push(register(&system.web_store, &format!("After {round}")).await.unwrap());
        wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn several_instances_of_each_service_share_the_work_and_start_at_once() {
    let site = TestEnvironment::new().await.unwrap();
    let systems = futures_util::future::join_all((0..3).map(|_| start(&site))).await;
    let mut ids = Vec::new();
    for (n, system) in systems.iter().enumerate() {
        for m in 0..50 {
            ids.push(register(&system.web_store, &format!("Customer {n} {m}")).await.unwrap());
        }
    }
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
}

async fn depth_is(site: &TestEnvironment, queue: &str, messages: u64) {
    let what = format!("{messages} messages in {queue}");
    eventually(SOON, &what, async || (site.management().depth(queue).await.ok()? == messages).then_some(()))
        .await
        .unwrap();
}

fn contracts_sample(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}
