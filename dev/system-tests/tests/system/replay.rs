//! `ReplayCustomers`: the Web Store sends events again, into one queue.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use contracts::{
    CustomerDetailsChanged, CustomerRegistered, Message, ReplayCustomers, ReplayProgressed, ReplayState,
    topology::{WEB_STORE_REPLAY_CUSTOMERS, WEB_STORE_REPLAYS},
};
use futures_util::StreamExt;
use lapin::{
    Channel, Connection,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use sqlx::Executor;
use stack::service::{Program, Service};
use system_tests::{
    Message as Received, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{email, http_client, insert_customers, register},
    eventually,
};
use tokio::time::timeout;
use uuid::Uuid;

/// The queue of a subscriber, as a test declares it.
const QUEUE: &str = "loyalty.customers";

/// A Web Store that accepts requests, and a subscriber's channel.
struct Replaying {
    channel: Channel,
    _connection: Connection,
    web_store: Service,
    environment: TestEnvironment,
}

impl Replaying {
    async fn start() -> anyhow::Result<Self> {
        let (environment, web_store) = TestEnvironment::with_web_store().await?;
        let (connection, channel) = open_channel(&environment).await?;
        let accepts = async || {
            let queues = environment.management().queues().await.ok()?;
            (queues.get(WEB_STORE_REPLAY_CUSTOMERS.name)?.consumers == 1).then_some(())
        };
        eventually(SOON, "the Web Store accepts requests", accepts).await?;
        Ok(Self { channel, _connection: connection, web_store, environment })
    }

    /// Declares a queue and binds it to the replays.
    async fn subscribe(&self, queue: &str) -> anyhow::Result<()> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        self.bind(queue, WEB_STORE_REPLAYS, queue).await
    }

    async fn bind(&self, queue: &str, exchange: &str, key: &str) -> anyhow::Result<()> {
        let options = QueueBindOptions::default();
        Ok(self
            .channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
            .await?)
    }

    /// Publishes a request, and returns its id.
    async fn request(&self, request: &Value) -> anyhow::Result<String> {
        let id = Uuid::new_v4().to_string();
        self.request_as(&id, request).await?;
        Ok(id)
    }

    async fn request_as(&self, id: &str, request: &Value) -> anyhow::Result<()> {
        let message_type = ReplayCustomers::TYPE;
        let properties = properties(message_type).with_message_id(id.into()).with_reply_to("reports".into());
        let body = request.to_string();
        publish(&self.channel, ReplayCustomers::EXCHANGE, message_type, properties, body.as_bytes()).await
    }

    /// Waits until a replay has ended, and returns its state and the number of its events.
    async fn wait_until_ended(&self, id: &str) -> anyhow::Result<(String, i64)> {
        let database = self.environment.web_store_database();
        let select = "SELECT state, published FROM replays WHERE id = $1::uuid AND state <> 'running'";
        eventually(SOON, "the end of a replay", async || {
            sqlx::query_as(select).bind(id).fetch_optional(&database).await.ok()?
        })
        .await
    }

    /// Replays into [`QUEUE`] and returns the events.
    async fn replay(&self, request: Value) -> anyhow::Result<Vec<Received>> {
        let id = self.request(&request).await?;
        let (state, events) = self.wait_until_ended(&id).await?;
        assert_eq!(state, "completed");
        self.environment.management().take(QUEUE, u32::try_from(events)? + 1).await
    }

    /// Returns the message ids of all versions of the type, by customer.
    async fn message_ids(&self, condition: &str) -> anyhow::Result<BTreeSet<String>> {
        let select = format!("SELECT message_id::text FROM versions WHERE {condition}");
        let select = sqlx::query_scalar(sqlx::AssertSqlSafe(select));
        let ids: Vec<String> = select.fetch_all(&self.environment.web_store_database()).await?;
        Ok(ids.into_iter().collect())
    }
}

/// Registers a customer, and changes the details as often as there are names. Returns the customer's id.
async fn register_and_change(web_store: &Service, name: &str, changes: &[&str]) -> anyhow::Result<String> {
    let client = http_client()?;
    let body = json!({"name": name, "email": email(name)});
    let response = client.post(format!("{}/customers", web_store.url())).json(&body).send().await?;
    let registered: Value = response.error_for_status()?.json().await?;
    let link = format!("{}{}", web_store.url(), registered["details"].as_str().context("a link")?);
    for name in changes {
        let change = json!({"name": name, "marketing_consent": true});
        client.post(&link).json(&change).send().await?.error_for_status()?;
    }
    Ok(registered["customer_id"].as_str().context("an id")?.to_owned())
}

fn message_id(message: &Received) -> String {
    message.properties["message_id"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn replayed_events_are_original_registration_and_newest_change() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    // The events that were sent first.
    system.subscribe(QUEUE).await?;
    system
        .channel
        .queue_declare("live".into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    system.bind("live", CustomerRegistered::EXCHANGE, "#").await?;
    let changed = register_and_change(&system.web_store, "Ann", &["Ann B", "Ann C"]).await?;
    register(&system.web_store, "Bob").await?;
    let management = system.environment.management();
    management.wait_for_depth("live", 4).await?;
    let sent: BTreeMap<_, _> = management
        .take("live", 4)
        .await?
        .into_iter()
        .map(|message| (message_id(&message), message))
        .collect();

    let replayed = system.replay(json!({ "queue": QUEUE })).await?;
    let ids: BTreeSet<_> = replayed.iter().map(message_id).collect();
    assert_eq!((replayed.len(), ids.len()), (3, 3));
    for event in &replayed {
        let original = &sent[&message_id(event)];
        assert_eq!(event.payload, original.payload);
        for property in
            ["message_id", "correlation_id", "type", "timestamp", "app_id", "content_type", "delivery_mode"]
        {
            assert_eq!(event.properties[property], original.properties[property], "{property}");
        }
        assert_eq!(event.routing_key, QUEUE);
    }
    let missing: Vec<_> = sent.iter().filter(|(id, _)| !ids.contains(*id)).collect();
    assert!(
        missing.len() == 1 && missing[0].1.payload.contains("Ann B"),
        "only the older change is left out"
    );
    assert!(missing[0].1.payload.contains(&changed));
    assert!(management.take("live", 1).await?.is_empty(), "other queues receive nothing");
    Ok(())
}

#[tokio::test]
async fn event_types_and_customers_select_events() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    let changed = register_and_change(&system.web_store, "Ann", &["Ann B"]).await?;
    let unchanged = register(&system.web_store, "Bob").await?;
    let types = |events: &[Received]| -> Vec<String> {
        let types = events.iter().map(|event| event.properties["type"].as_str().unwrap().to_owned());
        types.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let events = system.replay(json!({ "queue": QUEUE, "event_types": [CustomerRegistered::TYPE] })).await?;
    assert_eq!((events.len(), types(&events)), (2, vec![CustomerRegistered::TYPE.to_owned()]));
    let request = json!({ "queue": QUEUE, "event_types": [CustomerDetailsChanged::TYPE] });
    let events = system.replay(request).await?;
    assert_eq!((events.len(), types(&events)), (1, vec![CustomerDetailsChanged::TYPE.to_owned()]));
    let unknown = Uuid::new_v4().to_string();
    let customers = |ids: &[&String]| -> Value {
        ids.iter().map(|id| json!({ "customer_id": id })).collect::<Vec<_>>().into()
    };
    for (ids, count) in
        [(vec![&changed], 2), (vec![&unchanged, &unknown, &unchanged], 1), (vec![&unknown], 0)]
    {
        let events = system.replay(json!({ "queue": QUEUE, "customers": customers(&ids) })).await?;
        assert_eq!(events.len(), count, "{ids:?}");
    }
    Ok(())
}

#[tokio::test]
async fn period_selects_events_that_occurred_in_it() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    insert_customers(&system.environment, 5).await?;
    let minute = |n| format!("2026-01-31T00:0{n}:00Z");
    for (request, count) in [
        (json!({ "queue": QUEUE, "since": minute(1), "until": minute(3) }), 2),
        (json!({ "queue": QUEUE, "since": minute(1) }), 4),
        (json!({ "queue": QUEUE, "until": minute(1) }), 1),
        (json!({ "queue": QUEUE, "since": minute(9) }), 0),
    ] {
        let (since, until) = (request["since"].clone(), request["until"].clone());
        let events = system.replay(request).await?;
        let sent: BTreeSet<_> = events.iter().map(message_id).collect();
        let time = |time: &Value, default: &str| time.as_str().unwrap_or(default).to_owned();
        let condition = format!(
            "registered_at >= '{}' AND registered_at < '{}'",
            time(&since, "1970-01-01T00:00:00Z"),
            time(&until, "9999-01-01T00:00:00Z"),
        );
        assert_eq!((events.len(), &sent), (count, &system.message_ids(&condition).await?));
    }
    Ok(())
}

#[tokio::test]
async fn copies_of_request_are_one_replay() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    insert_customers(&system.environment, 3).await?;
    let id = Uuid::new_v4().to_string();
    for _ in 0..3 {
        system.request_as(&id, &json!({ "queue": QUEUE })).await?;
        assert_eq!(system.wait_until_ended(&id).await?, ("completed".to_owned(), 3));
    }
    let management = system.environment.management();
    management.wait_for_depth(WEB_STORE_REPLAY_CUSTOMERS.name, 0).await?;
    // A later replay shows that the copies have been processed.
    let other = system.request(&json!({ "queue": QUEUE })).await?;
    assert_eq!(system.wait_until_ended(&other).await?, ("completed".to_owned(), 3));
    management.wait_for_depth(QUEUE, 6).await
}

#[tokio::test]
async fn concurrent_replays_each_send_every_event() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    let second = system.environment.start_ready(Program::WebStore, &[]).await?;
    insert_customers(&system.environment, 3500).await?;
    let queues = ["loyalty.one", "loyalty.two", "loyalty.three"];
    let mut ids = Vec::new();
    for queue in queues {
        system.subscribe(queue).await?;
        ids.push(system.request(&json!({ "queue": queue })).await?);
    }
    for id in &ids {
        assert_eq!(system.wait_until_ended(id).await?, ("completed".to_owned(), 3500));
    }
    let expected = system.message_ids("true").await?;
    for queue in queues {
        assert_eq!(receive(&system.channel, queue, &expected).await?, 3500);
    }
    drop(second);
    Ok(())
}

/// Consumes from a queue until all these messages have arrived. Returns the number of messages, with copies.
async fn receive(channel: &Channel, queue: &str, expected: &BTreeSet<String>) -> anyhow::Result<usize> {
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    let mut missing = expected.clone();
    let mut count = 0;
    while !missing.is_empty() {
        let delivery = timeout(SOON, consumer.next()).await.context("a message is missing")?;
        let delivery = delivery.context("the consumer has ended")??;
        let id = delivery.properties.message_id().as_ref().context("a message id")?.to_string();
        assert!(expected.contains(&id), "{id} is no original id");
        missing.remove(&id);
        count += 1;
    }
    Ok(count)
}

#[tokio::test]
async fn replay_pauses_at_long_queue_and_survives_kills() -> anyhow::Result<()> {
    let mut system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    insert_customers(&system.environment, 25_000).await?;
    let database = system.environment.web_store_database();
    let id = system.request(&json!({ "queue": QUEUE })).await?;
    let published = async || -> Option<i64> {
        let select = "SELECT published FROM replays WHERE id = $1::uuid";
        sqlx::query_scalar(select).bind(&id).fetch_optional(&database).await.ok()?
    };
    let mut kills = 0;
    // Without a consumer, the replay stops above 10,000 messages.
    for limit in [1000, 4000, 7000] {
        eventually(SOON, "the replay runs", async || (published().await? >= limit).then_some(())).await?;
        let address = system.web_store.address();
        system.web_store.kill().await?;
        kills += 1;
        system.web_store = system.environment.start_at(address, Program::WebStore, &[])?;
    }
    let management = system.environment.management();
    eventually(SOON, "the replay pauses", async || {
        (management.depth(QUEUE).await.ok()? > 10_000).then_some(())
    })
    .await?;
    let live = register(&system.web_store, "Ann").await;
    assert!(live.is_ok(), "registrations continue: {live:?}");
    assert!(published().await.context("a replay")? < 25_000);
    let expected = system.message_ids("registered_at < '2026-03-01'").await?;
    assert_eq!(expected.len(), 25_000);
    let count = receive(&system.channel, QUEUE, &expected).await?;
    assert!((25_000..=25_000 + kills * 128).contains(&count), "{count} messages after {kills} kills");
    assert_eq!(system.wait_until_ended(&id).await?, ("completed".to_owned(), 25_000));
    Ok(())
}

#[tokio::test]
async fn unbound_queue_delays_its_replay_and_is_reported() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe("reports").await?;
    insert_customers(&system.environment, 2).await?;
    let id = system.request(&json!({ "queue": QUEUE })).await?;
    let health = format!("{}/health/ready", system.web_store.url());
    eventually(SOON, "health reports the queue", async || {
        let response = http_client().ok()?.get(&health).send().await.ok()?;
        assert_eq!(response.status(), 200, "the Web Store stays ready");
        let body: Value = response.json().await.ok()?;
        let problem = body["parts"]["replays"].as_str()?.to_owned();
        (problem.contains(QUEUE) && problem.contains("bind the receiving queue")).then_some(())
    })
    .await?;
    // Another replay is not delayed.
    system.subscribe("loyalty.other").await?;
    let other = system.request(&json!({ "queue": "loyalty.other" })).await?;
    assert_eq!(system.wait_until_ended(&other).await?.0, "completed");
    system.subscribe(QUEUE).await?;
    assert_eq!(system.wait_until_ended(&id).await?, ("completed".to_owned(), 2));
    eventually(SOON, "health reports no problem", async || {
        let body: Value = http_client().ok()?.get(&health).send().await.ok()?.json().await.ok()?;
        (body["parts"]["replays"] == "up").then_some(())
    })
    .await
}

#[tokio::test]
async fn replay_fails_after_24_hours_without_bound_queue() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe("reports").await?;
    insert_customers(&system.environment, 2).await?;
    let id = system.request(&json!({ "queue": QUEUE })).await?;
    let database = system.environment.web_store_database();
    eventually(SOON, "the first refusal", async || {
        let update =
            "UPDATE replays SET refused_since = now() - interval '24 hours' WHERE refused_since IS NOT NULL";
        (database.execute(update).await.ok()?.rows_affected() == 1).then_some(())
    })
    .await?;
    assert_eq!(system.wait_until_ended(&id).await?, ("failed".to_owned(), 0));
    let report = system.environment.management().take("reports", 2).await?;
    let report: ReplayProgressed = serde_json::from_str(&report[0].payload)?;
    assert_eq!(report.replay_id.to_string(), id);
    assert!(report.reason.context("a reason")?.contains("24 hours"));
    Ok(())
}

#[tokio::test]
async fn requester_receives_reports_until_completion() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    system.subscribe("reports").await?;
    insert_customers(&system.environment, 2500).await?;
    let id = system.request(&json!({ "queue": QUEUE })).await?;
    assert_eq!(system.wait_until_ended(&id).await?, ("completed".to_owned(), 2500));
    let reports = system.environment.management().take("reports", 10).await?;
    let parsed: Vec<ReplayProgressed> =
        reports.iter().map(|report| serde_json::from_str(&report.payload)).collect::<Result<_, _>>()?;
    let states: Vec<_> =
        parsed.iter().map(|report| (format!("{:?}", report.state), report.published)).collect();
    let first = parsed.first().context("there is no report")?;
    assert_eq!(first.state, ReplayState::Running);
    assert!((1..2500).contains(&first.published), "{states:?}");
    assert_eq!(states.last(), Some(&("Completed".to_owned(), 2500)));
    for report in &reports {
        assert_eq!(report.properties["type"], ReplayProgressed::TYPE);
        assert_eq!(report.properties["headers"]["causation-id"], id);
    }
    Ok(())
}

#[tokio::test]
async fn invalid_request_is_dead_lettered_with_reason() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    insert_customers(&system.environment, 1).await?;
    let customer = json!({ "customer_id": Uuid::new_v4() });
    let time = "2026-01-31T00:00:00Z";
    let invalid = [
        (json!({}), "wrong-shape", "queue"),
        (json!({ "queue": "" }), "rule-broken", "1 to 255"),
        (json!({ "queue": QUEUE, "event_types": [] }), "rule-broken", "must not be empty"),
        (json!({ "queue": QUEUE, "event_types": ["web-store.other.v1"] }), "rule-broken", "unknown type"),
        (
            json!({ "queue": QUEUE, "since": time, "until": time }),
            "rule-broken",
            "since must be before until",
        ),
        (
            json!({ "queue": QUEUE, "since": time, "customers": [customer] }),
            "rule-broken",
            "cannot be combined",
        ),
        (json!({ "queue": QUEUE, "customers": [] }), "rule-broken", "1 to 1000 entries"),
    ];
    for (request, ..) in &invalid {
        system.request(request).await?;
    }
    let events = system.replay(json!({ "queue": QUEUE })).await?;
    assert_eq!(events.len(), 1, "valid requests are processed");
    let management = system.environment.management();
    let dead_letters = WEB_STORE_REPLAY_CUSTOMERS.dead_letter_queue();
    let count = invalid.len();
    management.wait_for_depth(&dead_letters, count.try_into()?).await?;
    let letters = management.take(&dead_letters, count.try_into()?).await?;
    for ((request, code, reason), letter) in invalid.iter().zip(letters) {
        assert_eq!(serde_json::from_str::<Value>(&letter.payload)?, *request);
        let headers = &letter.properties["headers"];
        assert_eq!(headers["rejection-code"], *code, "{request}");
        assert!(headers["rejection-reason"].as_str().unwrap().contains(reason), "{headers}");
    }
    Ok(())
}

#[tokio::test]
async fn lower_version_is_replaced_by_higher_one() -> anyhow::Result<()> {
    let system = Replaying::start().await?;
    system.subscribe(QUEUE).await?;
    let id = register_and_change(&system.web_store, "Ann", &["Ann B"]).await?;
    let database = system.environment.web_store_database();
    let version = async || -> sqlx::Result<(i32, String)> {
        let select = "SELECT version, name FROM customers WHERE id = $1::uuid";
        sqlx::query_as(select).bind(&id).fetch_one(&database).await
    };
    let (before, _) = version().await?;
    let request =
        |known: i32| json!({ "queue": QUEUE, "customers": [{ "customer_id": id, "version": known }] });
    // The subscriber has the same version or a lower one.
    for known in [before, 1] {
        assert_eq!(system.replay(request(known)).await?.len(), 2);
        assert_eq!(version().await?.0, before);
    }
    // The subscriber has a version that a restore of the database has undone.
    let known = before + 1000;
    let events = system.replay(request(known)).await?;
    let (after, name) = version().await?;
    assert!(after > known, "{after} after {known}");
    assert_eq!(name, "Ann B");
    let newest: Value = serde_json::from_str(&events[1].payload)?;
    assert_eq!((&newest["version"], &newest["name"]), (&json!(after), &json!("Ann B")));
    // It is an ordinary change, whose event also leaves by the outbox.
    let select = "SELECT count(*) FROM outbox WHERE message_id::text = $1";
    let waiting: i64 = sqlx::query_scalar(select).bind(message_id(&events[1])).fetch_one(&database).await?;
    assert_eq!(waiting, 1);
    let select = "SELECT count(*) FROM versions WHERE customer_id = $1::uuid";
    let versions: i64 = sqlx::query_scalar(select).bind(&id).fetch_one(&database).await?;
    assert_eq!(versions, 3);
    Ok(())
}
