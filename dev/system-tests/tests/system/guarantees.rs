//! The guarantees in the table of README.md that need no server failure. The others are in `outages.rs`.

use contracts::{
    CreateCustomer, CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED},
};
use futures_util::future::try_join_all;
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use serde_json::{Value, json};
use stack::service::{Program, Service};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{
        http_client, outbox_depth, register, register_at, register_many, wait_for_marketing_rows,
        wait_for_outbox_depth,
    },
    eventually,
    programs::stop,
};

const EVENT: &str = include_str!("../../../../contracts/samples/web-store.customer-registered.v1.json");
const COMMAND: &str = include_str!("../../../../contracts/samples/marketing.create-customer.v1.json");

/// The message id of all messages that [`publish`] sends with [`properties`].
const MESSAGE_ID: &str = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71";

/// The connections of one instance of each service: one of the relay, two of replays, one of erasures, two of each flow of
/// the transformer, one of each of Marketing's subscriptions, and one for the status reports of each of the nine consumers.
const CONNECTIONS: usize = 24;

struct System {
    web_store: Service,
    transformer: Service,
    marketing: Service,
}

async fn start(environment: &TestEnvironment) -> anyhow::Result<System> {
    let mut system = System {
        web_store: environment.start_web_store()?,
        transformer: environment.start_transformer()?,
        marketing: environment.start_marketing()?,
    };
    for service in [&mut system.web_store, &mut system.transformer, &mut system.marketing] {
        service.wait_ready(SOON).await?;
    }
    Ok(system)
}

#[tokio::test]
async fn burst_of_2000_registrations_creates_exactly_2000_rows() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let url = system.web_store.url();
    let clients = (0..8).map(async |client_number| {
        let client = http_client()?;
        let mut ids = Vec::new();
        for n in 0..250 {
            ids.push(register_at(&client, &url, &format!("Customer {client_number} {n:03}")).await?);
        }
        anyhow::Ok(ids)
    });
    let ids = try_join_all(clients).await?.concat();
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await
}

#[tokio::test]
async fn event_without_bound_queue_waits_in_outbox() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let ids = register_many(&web_store, 5).await?;
    let returned = async || environment.logs_contain("outcome=Returned").then_some(());
    eventually(SOON, "the broker returns the events", returned).await?;
    assert_eq!(outbox_depth(&environment).await?, 5);

    let _services = [environment.start_transformer()?, environment.start_marketing()?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await
}

#[tokio::test]
async fn nacked_event_waits_in_outbox() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    // The queue accepts no message, so the broker nacks each publish.
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(0));
    full.insert("x-overflow".into(), AMQPValue::LongString(LongString::from("reject-publish")));
    channel.queue_declare("full".into(), QueueDeclareOptions::default(), full).await?;
    let (exchange, key) = (CustomerRegistered::EXCHANGE.into(), CustomerRegistered::TYPE.into());
    let options = QueueBindOptions::default();
    channel.queue_bind("full".into(), exchange, key, options, FieldTable::default()).await?;

    let id = register(&system.web_store, "Ann").await?;
    let nacked = async || environment.logs_contain("outcome=Nacked").then_some(());
    eventually(SOON, "the broker nacks the event", nacked).await?;
    assert_eq!(outbox_depth(&environment).await?, 1);

    environment.management().delete_queue("full").await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    wait_for_marketing_rows(&environment, &[id], SOON).await
}

#[tokio::test]
async fn messages_wait_in_queue_while_their_consumer_is_down() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    stop(transformer).await?;
    let mut ids = register_many(&web_store, 3).await?;
    management.wait_for_depth(TRANSFORMER_CUSTOMER_REGISTERED.name, 3).await?;

    stop(marketing).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    management.wait_for_depth(MARKETING_CREATE_CUSTOMER.name, 3).await?;

    ids.push(register(&web_store, "Ann").await?);
    let _marketing = environment.start_marketing()?;
    wait_for_marketing_rows(&environment, &ids, SOON).await
}

#[tokio::test]
async fn unprocessable_event_is_dead_lettered_and_delays_no_other() -> anyhow::Result<()> {
    let mut without_email: Value = serde_json::from_str(EVENT)?;
    without_email.as_object_mut().unwrap().remove("email");
    let own = CustomerRegistered::TYPE;
    let unprocessable = [
        (own, "not-json", b"{\"customer_id\":".to_vec()),
        (own, "not-json", b"\xff\xfe".to_vec()),
        (own, "wrong-shape", without_email.to_string().into_bytes()),
        ("web-store.customer-registered.v2", "unknown-version", EVENT.into()),
        ("web-store.customer-registered.vx", "unknown-type", EVENT.into()),
        ("", "unknown-type", EVENT.into()),
    ];
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    dead_letter(&environment, &system, &TRANSFORMER_CUSTOMER_REGISTERED, &unprocessable).await
}

#[tokio::test]
async fn unprocessable_command_is_dead_lettered_and_delays_no_other() -> anyhow::Result<()> {
    let command: Value = serde_json::from_str(COMMAND)?;
    let with = |field: &str, value: Value| {
        let mut command = command.clone();
        command[field] = value;
        command.to_string().into_bytes()
    };
    let own = CreateCustomer::TYPE;
    let unprocessable = [
        (own, "not-json", b"customer".to_vec()),
        (own, "wrong-shape", with("customer_since", json!("yesterday"))),
        (own, "rule-broken", with("full_name", json!(" "))),
        (own, "rule-broken", with("full_name", json!("x".repeat(201)))),
        (own, "rule-broken", with("full_name", json!("Test"))),
        ("marketing.create-customer.v9", "unknown-version", COMMAND.into()),
    ];
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    // Only the database knows this rule. It rejects a whole batch because of one row.
    let rule = "ALTER TABLE customers ADD CONSTRAINT no_test_names CHECK (full_name <> 'Test')";
    sqlx::query(rule).execute(&environment.marketing_database()).await?;
    dead_letter(&environment, &system, &MARKETING_CREATE_CUSTOMER, &unprocessable).await
}

/// Publishes unprocessable messages between registrations. Requires each among the dead letters, unchanged and
/// with its reason, and requires that all registered customers arrive.
///
/// A message is its type, the expected reason, and its body.
async fn dead_letter(
    environment: &TestEnvironment,
    system: &System,
    queue: &Queue,
    unprocessable: &[(&str, &str, Vec<u8>)],
) -> anyhow::Result<()> {
    let (_connection, channel) = open_channel(environment).await?;
    let mut ids = Vec::new();
    for (n, (message_type, _, body)) in unprocessable.iter().enumerate() {
        publish(&channel, queue.exchange, queue.routing_key, properties(message_type), body).await?;
        ids.push(register(&system.web_store, &format!("Neighbor {n}")).await?);
    }
    let (management, dead_letters) = (environment.management(), queue.dead_letter_queue());
    management.wait_for_depth(&dead_letters, unprocessable.len() as u64).await?;
    let letters = management.take(&dead_letters, 100).await?;
    for (message_type, reason, body) in unprocessable {
        let letter = letters.iter().find(|letter| {
            letter.properties["headers"]["rejection-code"] == *reason
                && letter.properties["type"] == *message_type
                && letter.body().is_ok_and(|found| found == *body)
        });
        let letter = letter.unwrap_or_else(|| panic!("no {reason} of type {message_type} in {letters:#?}"));
        let headers = &letter.properties["headers"];
        assert_eq!(headers["from"], "a test", "the dead letter lacks a header of the original");
        assert_eq!(headers["rejected-from"], queue.name);
        assert!(headers["rejection-reason"].is_string() && headers["rejected-at"].is_string());
        assert_eq!(letter.properties["message_id"], MESSAGE_ID);
    }
    wait_for_marketing_rows(environment, &ids, SOON).await
}

#[tokio::test]
async fn duplicate_delivery_creates_no_second_row_and_no_error() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let (event, command) = (CustomerRegistered::TYPE, CreateCustomer::TYPE);
    for _ in 0..3 {
        let body = EVENT.as_bytes();
        publish(&channel, CustomerRegistered::EXCHANGE, event, properties(event), body).await?;
        let body = COMMAND.as_bytes();
        publish(&channel, CreateCustomer::EXCHANGE, command, properties(command), body).await?;
    }
    let sample: CustomerRegistered = serde_json::from_str(EVENT)?;
    let ids = [sample.customer_id.to_string(), register(&system.web_store, "Ann").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let management = environment.management();
    for queue in [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER] {
        management.wait_for_depth(queue.name, 0).await?;
        management.wait_for_depth(&queue.dead_letter_queue(), 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn same_event_always_produces_same_command() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let mut marketing = environment.start_ready(Program::Marketing, &[]).await?;
    marketing.kill().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let event_type = CustomerRegistered::TYPE;
    for _ in 0..2 {
        let own = properties(event_type).with_correlation_id("correlation-7".into());
        publish(&channel, CustomerRegistered::EXCHANGE, event_type, own, EVENT.as_bytes()).await?;
    }
    let (management, queue) = (environment.management(), MARKETING_CREATE_CUSTOMER.name);
    management.wait_for_depth(queue, 2).await?;
    let commands = management.take(queue, 2).await?;
    assert_eq!(commands[0].properties["message_id"], commands[1].properties["message_id"]);
    for command in commands {
        assert_eq!(command.payload, COMMAND.trim_end());
        let properties = &command.properties;
        assert_eq!(properties["type"], CreateCustomer::TYPE);
        assert_eq!(properties["content_type"], "application/json");
        assert_eq!(properties["delivery_mode"], 2);
        assert_eq!(properties["correlation_id"], "correlation-7");
        assert_eq!(properties["app_id"], "transformer");
        assert_eq!(properties["headers"]["causation-id"], MESSAGE_ID);
        assert!(properties["headers"]["traceparent"].is_string());
    }
    Ok(())
}

#[tokio::test]
async fn session_is_rebuilt_after_its_queue_is_deleted() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = start(&environment).await?;
    let mut ids = vec![register(&system.web_store, "Before").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    for queue in [TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER] {
        environment.management().delete_queue(queue.name).await?;
        ids.push(register(&system.web_store, &format!("After {}", queue.name)).await?);
        wait_for_marketing_rows(&environment, &ids, SOON).await?;
    }
    Ok(())
}

#[tokio::test]
async fn sessions_are_rebuilt_after_broker_closes_connections() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let system = start(&environment).await?;
    let mut ids = Vec::new();
    for round in 0..3 {
        let connected = async || (management.connections().await.ok()?.len() == CONNECTIONS).then_some(());
        eventually(SOON, "all connections are open", connected).await?;
        ids.push(register(&system.web_store, &format!("Before {round}")).await?);
        assert!(management.close_connections().await? >= CONNECTIONS);
        ids.push(register(&system.web_store, &format!("After {round}")).await?);
        wait_for_marketing_rows(&environment, &ids, SOON).await?;
    }
    Ok(())
}

#[tokio::test]
async fn several_instances_start_simultaneously_and_share_work() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let systems = try_join_all((0..3).map(|_| start(&environment))).await?;
    let mut ids = Vec::new();
    for (n, system) in systems.iter().enumerate() {
        for m in 0..50 {
            ids.push(register(&system.web_store, &format!("Customer {n} {m}")).await?);
        }
    }
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await
}
