//! Operators pause, throttle, and resume subscriptions of all instances, without an effect on any message.

use std::{ops::Range, time::Duration};

use anyhow::ensure;
use contracts::{
    CreateCustomer, Message, UpdateCustomer,
    topology::{
        ERASURE_QUEUES, MARKETING_CREATE_CUSTOMER, QUEUES, REQUEST_QUEUES, TRANSFORMER_CUSTOMER_REGISTERED,
        WEB_STORE_REPLAY_CUSTOMERS,
    },
};
use futures_util::future::try_join_all;
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Executor;
use stack::{
    ports::free_port,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{http_client, marketing_ids, register, register_many, wait_for_marketing_rows},
    eventually,
    metrics::Metrics,
    programs::{ProgramOutput, console_command, reconcile, run, stop},
};
use tokio::time::Instant;

const QUEUE: &str = MARKETING_CREATE_CUSTOMER.name;

/// Exceeds the time in which a killed server restarts on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);

/// The goal for the repair of a loss, and some more for a busy machine.
const REPAIR: Duration = Duration::from_mins(2);

/// Runs `console subscriptions` with arguments that white space separates.
async fn subscriptions(environment: &TestEnvironment, arguments: &str) -> anyhow::Result<ProgramOutput> {
    let mut command = console_command(environment)?;
    command.arg("subscriptions").args(arguments.split_whitespace());
    run(command, "").await
}

/// Runs `console subscriptions`, which must succeed.
async fn change(environment: &TestEnvironment, arguments: &str) -> anyhow::Result<String> {
    let output = subscriptions(environment, arguments).await?;
    ensure!(output.status == 0, "{arguments}: {}", output.stderr);
    Ok(output.stdout)
}

/// Pauses a queue, and waits until no consumer has or receives messages of it.
async fn pause(environment: &TestEnvironment, queue: &str) -> anyhow::Result<()> {
    change(environment, &format!("pause {queue} --why test")).await?;
    wait_until_paused(environment, queue).await
}

/// A consumer that is cancelled and holds messages counts as one. The numbers of the management API are too old.
async fn wait_until_paused(environment: &TestEnvironment, queue: &str) -> anyhow::Result<()> {
    let (_connection, channel) = open_channel(environment).await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    eventually(SOON, &format!("{queue} has no consumer"), async || {
        let declare = channel.queue_declare(queue.into(), passive, FieldTable::default());
        (declare.await.ok()?.consumer_count() == 0).then_some(())
    })
    .await
}

async fn wait_for_consumers(
    environment: &TestEnvironment,
    queue: &str,
    consumers: u64,
) -> anyhow::Result<()> {
    eventually(SOON, &format!("{queue} has {consumers} consumers"), async || {
        (environment.management().queues().await.ok()?.get(queue)?.consumers == consumers).then_some(())
    })
    .await
}

/// Waits until the health of a service mentions `text` in the part `subscriptions`, and the service is ready.
async fn wait_for_health(service: &Service, text: &str) -> anyhow::Result<String> {
    eventually(SOON, &format!("{text} in the health"), async || {
        let response =
            http_client().ok()?.get(format!("{}/health/ready", service.url())).send().await.ok()?;
        let status = response.status();
        let body: Value = response.json().await.ok()?;
        let part = body["parts"]["subscriptions"].as_str()?.to_owned();
        (status == StatusCode::OK && part.contains(text)).then_some(part)
    })
    .await
}

async fn start_marketing(environment: &TestEnvironment) -> anyhow::Result<Service> {
    let listen = format!("127.0.0.1:{}", free_port()?);
    let settings: Vec<_> = NO_REPLAY.iter().copied().chain([("METRICS_LISTEN", listen.as_str())]).collect();
    environment.start_ready(Program::Marketing, &settings).await
}

async fn metric(service: &Service, name: &str) -> anyhow::Result<f64> {
    let metrics = Metrics::scrape(&service.metrics_url().unwrap_or_default()).await?;
    Ok(metrics.sum(name, &[("messaging_destination_name", QUEUE)]))
}

/// Returns the id of the n-th customer.
fn customer(n: u32) -> String {
    format!("01938c5e-7b1a-7c3e-9f00-{n:012x}")
}

/// Publishes a command for each customer of a range.
async fn publish_commands(channel: &Channel, range: Range<u32>) -> anyhow::Result<()> {
    for n in range {
        let body = json!({
            "customer_id": customer(n), "full_name": "Ann", "email_address": format!("ann{n}@example.org"),
            "email_opt_in": true, "source": "web-store", "customer_since": "2026-01-02T03:04:05Z",
        });
        let message =
            properties(CreateCustomer::TYPE).with_message_id(customer(n).into()).with_delivery_mode(2);
        let body = body.to_string();
        publish(channel, CreateCustomer::EXCHANGE, CreateCustomer::TYPE, message, body.as_bytes()).await?;
    }
    Ok(())
}

/// Waits until Marketing has a number of rows, or more.
async fn wait_for_row_count(environment: &TestEnvironment, rows: usize) -> anyhow::Result<()> {
    eventually(SOON, &format!("{rows} rows"), async || {
        (marketing_ids(environment).await.ok()?.len() >= rows).then_some(())
    })
    .await
}

#[tokio::test]
async fn paused_queue_holds_messages_while_others_flow() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let marketing = start_marketing(&environment).await?;
    let management = environment.management();
    assert!((metric(&marketing, "subscription_paused").await?).abs() < 1e-9);
    assert!(wait_for_health(&marketing, "up").await?.starts_with("up"));

    pause(&environment, QUEUE).await?;
    let mut ids = register_many(&web_store, 3).await?;
    management.wait_for_depth(QUEUE, 3).await?;
    management.wait_for_depth(TRANSFORMER_CUSTOMER_REGISTERED.name, 0).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let update = include_str!("../../../../contracts/samples/marketing.update-customer.v1.json");
    let message = properties(UpdateCustomer::TYPE);
    publish(&channel, UpdateCustomer::EXCHANGE, UpdateCustomer::TYPE, message, update.as_bytes()).await?;
    wait_for_row_count(&environment, 1).await?;
    let updated = marketing_ids(&environment).await?;
    assert_eq!(updated.len(), 1, "only the command of the other queue");

    let health = wait_for_health(&marketing, "is paused since").await?;
    for part in [QUEUE, "by tester", "(test)", &format!("console subscriptions resume {QUEUE}")] {
        assert!(health.contains(part), "{part} in {health}");
    }
    assert!((metric(&marketing, "subscription_paused").await? - 1.0).abs() < 1e-9);
    management.declare_queue("reports", json!({})).await?;
    management.bind("reports", "operations.status", QUEUE).await?;
    eventually(SOON, "a report of the paused consumer", async || {
        let reports = management.take("reports", 1).await.ok()?;
        let report: Value = serde_json::from_str(&reports.first()?.payload).ok()?;
        (report["subscription"]["state"] == "paused").then_some(())
    })
    .await?;

    change(&environment, &format!("resume {QUEUE}")).await?;
    ids.extend(updated);
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_health(&marketing, "up").await?;
    assert!((metric(&marketing, "subscription_paused").await?).abs() < 1e-9);
    Ok(())
}

#[tokio::test]
async fn requests_for_replays_can_be_paused() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    wait_for_consumers(&environment, WEB_STORE_REPLAY_CUSTOMERS.name, 1).await?;
    pause(&environment, WEB_STORE_REPLAY_CUSTOMERS.name).await?;
    wait_for_health(&web_store, "is paused since").await?;
    change(&environment, &format!("resume {}", WEB_STORE_REPLAY_CUSTOMERS.name)).await?;
    wait_for_consumers(&environment, WEB_STORE_REPLAY_CUSTOMERS.name, 1).await
}

#[tokio::test]
async fn pause_survives_restart_of_everything() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let management = environment.management();
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let marketing = start_marketing(&environment).await?;
    let event_queue = TRANSFORMER_CUSTOMER_REGISTERED.name;
    pause(&environment, QUEUE).await?;
    pause(&environment, event_queue).await?;
    let mut ids = register_many(&web_store, 3).await?;
    management.wait_for_depth(event_queue, 3).await?;

    // The running instance keeps the state, and the stopped one reads it again.
    stop(marketing).await?;
    servers.broker.process.kill().await?;
    servers.broker.restart().await?;
    let marketing = start_marketing(&environment).await?;
    wait_for_health(&marketing, QUEUE).await?;
    wait_for_health(&transformer, event_queue).await?;
    ids.push(register(&web_store, "After the restart").await?);
    management.wait_for_depth(event_queue, 4).await?;
    stop(transformer).await?;
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    wait_for_health(&transformer, event_queue).await?;
    wait_until_paused(&environment, event_queue).await?;
    management.wait_for_depth(event_queue, 4).await?;

    change(&environment, &format!("resume {event_queue}")).await?;
    management.wait_for_depth(QUEUE, 4).await?;
    wait_until_paused(&environment, QUEUE).await?;
    assert_eq!(marketing_ids(&environment).await?, Vec::<String>::new());
    change(&environment, &format!("resume {QUEUE}")).await?;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await?;
    for queue in [MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED] {
        assert_eq!(management.depth(&queue.dead_letter_queue()).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn pause_under_load_counts_no_delivery() -> anyhow::Result<()> {
    const MESSAGES: u32 = 6000;
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let _marketing = [start_marketing(&environment).await?, start_marketing(&environment).await?];
    pause(&environment, QUEUE).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let parts = (0..MESSAGES).step_by(100).map(|n| publish_commands(&channel, n..n + 100));
    try_join_all(parts).await?;
    // So slow that messages always wait.
    let slow = "CREATE TRIGGER slow BEFORE INSERT ON customers FOR EACH ROW SET @slept = SLEEP(0.005)";
    environment.marketing_database().execute(slow).await?;

    for round in 1..=3 {
        change(&environment, &format!("resume {QUEUE}")).await?;
        wait_for_row_count(&environment, round * 300).await?;
        pause(&environment, QUEUE).await?;
    }
    let rows = marketing_ids(&environment).await?.len();
    let waiting = management.take(QUEUE, MESSAGES).await?;
    assert_eq!(rows + waiting.len(), MESSAGES as usize);
    assert!(!waiting.is_empty());
    for message in waiting {
        assert!(!message.redelivered, "{message:?}");
        let deliveries = message.properties["headers"]["x-delivery-count"].as_u64();
        assert_eq!(deliveries.unwrap_or(0), 0, "{message:?}");
    }
    assert_eq!(management.redeliveries(QUEUE).await?, 0);
    assert_eq!(management.depth(&MARKETING_CREATE_CUSTOMER.dead_letter_queue()).await?, 0);
    Ok(())
}

#[tokio::test]
async fn pause_applies_to_all_instances() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let (one, two) = (start_marketing(&environment).await?, start_marketing(&environment).await?);
    wait_for_consumers(&environment, QUEUE, 2).await?;
    pause(&environment, QUEUE).await?;
    let later = start_marketing(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    publish_commands(&channel, 0..10).await?;
    for marketing in [&one, &two, &later] {
        wait_for_health(marketing, "is paused since").await?;
    }
    management.wait_for_depth(QUEUE, 10).await?;
    wait_until_paused(&environment, QUEUE).await?;
    change(&environment, &format!("resume {QUEUE}")).await?;
    wait_for_consumers(&environment, QUEUE, 3).await?;
    let expected: Vec<_> = (0..10).map(customer).collect();
    wait_for_marketing_rows(&environment, &expected, SOON).await
}

#[tokio::test]
async fn throttle_limits_all_instances_together() -> anyhow::Result<()> {
    const RATE: f64 = 20.0;
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let marketing = start_marketing(&environment).await?;
    let _second = start_marketing(&environment).await?;
    pause(&environment, QUEUE).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    publish_commands(&channel, 0..300).await?;
    change(&environment, &format!("throttle {QUEUE} --rate 20 --why test")).await?;
    wait_for_health(&marketing, "is throttled to 20 per second since").await?;
    assert!((metric(&marketing, "subscription_rate_limit").await? - RATE).abs() < 1e-9);

    // Until then, an instance may not have counted the other one.
    wait_for_row_count(&environment, 80).await?;
    let start = Instant::now();
    let before = marketing_ids(&environment).await?.len();
    eventually(SOON, "100 more rows", async || {
        let queues = management.queues().await.ok()?;
        let held = queues.get(QUEUE)?.messages_unacknowledged;
        assert!(held <= 8, "{held} held messages");
        (marketing_ids(&environment).await.ok()?.len() >= before + 100).then_some(())
    })
    .await?;
    let after = marketing_ids(&environment).await?.len();
    // A slow machine makes fewer rows in this time, and never more. Each instance may have a batch of 2 in its database.
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let rows = (after - before) as f64;
    let limit = RATE * start.elapsed().as_secs_f64() * 1.1 + 4.0;
    assert!(rows <= limit, "{rows} rows, and the limit is {limit}");

    change(&environment, &format!("resume {QUEUE}")).await?;
    publish_commands(&channel, 300..1000).await?;
    let expected: Vec<_> = (0..1000).map(customer).collect();
    wait_for_marketing_rows(&environment, &expected, SOON).await?;
    assert_eq!(management.redeliveries(QUEUE).await?, 0);
    Ok(())
}

#[tokio::test]
async fn repeated_change_has_no_effect() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _marketing = start_marketing(&environment).await?;
    let paused = change(&environment, &format!("pause {QUEUE} --why first")).await?;
    assert_eq!(paused, format!("{QUEUE} is paused\n"));
    let again = change(&environment, &format!("pause {QUEUE} --why second")).await?;
    assert!(again.starts_with(&format!("{QUEUE} is already paused, since ")), "{again}");
    change(&environment, &format!("throttle {QUEUE} --rate 7")).await?;
    let again = change(&environment, &format!("throttle {QUEUE} --rate 7")).await?;
    assert!(again.contains("already throttled to 7 per second"), "{again}");

    let lines = change(&environment, "--json").await?;
    let listed: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(listed.len(), QUEUES.len() + REQUEST_QUEUES.len() + ERASURE_QUEUES.len());
    let subscription = listed.iter().find(|one| one["queue"] == QUEUE).unwrap();
    assert_eq!((&subscription["state"], &subscription["rate"]), (&json!("throttled"), &json!(7)));
    assert_eq!((&subscription["operator"], &subscription["ready"]), (&json!("tester"), &json!(0)));
    assert!(subscription["since"].is_string());
    let table = change(&environment, "").await?;
    assert!(table.lines().any(|line| line.starts_with(QUEUE) && line.contains("throttled to 7")), "{table}");

    let mut journal = console_command(&environment)?;
    journal.args(["journal", "--json"]);
    let journal = run(journal, "").await?.stdout;
    let entries: Vec<Value> = journal.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let changes: Vec<_> = entries.iter().filter(|entry| entry["event"] == "subscription-changed").collect();
    let states: Vec<_> = changes.iter().filter_map(|entry| entry["state"].as_str()).collect();
    assert_eq!(states, ["paused", "throttled"]);
    assert_eq!((&changes[0]["queue"], &changes[0]["why"]), (&json!(QUEUE), &json!("first")));
    let mut verify = console_command(&environment)?;
    verify.args(["journal", "verify"]);
    assert_eq!(run(verify, "").await?.status, 0);
    Ok(())
}

#[tokio::test]
async fn exit_status_reports_wrong_arguments_and_unusable_servers() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for wrong in [
        "pause marketing.unknown --why test".to_owned(),
        format!("pause {QUEUE}"),
        format!("throttle {QUEUE}"),
        format!("throttle {QUEUE} --rate 0"),
    ] {
        assert_eq!(subscriptions(&environment, &wrong).await?.status, 2, "{wrong}");
    }
    // Without services, so the console declares everything that it needs.
    assert_eq!(subscriptions(&environment, "").await?.status, 0);
    change(&environment, &format!("pause {QUEUE} --why test")).await?;
    let marketing = start_marketing(&environment).await?;
    wait_for_health(&marketing, "is paused since").await?;

    let unreachable = format!("amqp://console:x@127.0.0.1:{}/%2f", free_port()?);
    for arguments in [String::new(), format!("pause {QUEUE} --why test")] {
        let mut command = console_command(&environment)?;
        command.env("BROKER_URL", &unreachable).env("CONSOLE_OPERATOR", "tester");
        command.arg("subscriptions").args(arguments.split_whitespace());
        let output = run(command, "").await?;
        assert_eq!(output.status, 2, "{}", output.stderr);
        assert!(output.stderr.contains("cannot be reached"), "{}", output.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn service_without_permission_runs_with_one_warning() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let permissions = json!({
        "configure": "^(marketing\\..+|operations\\.status)$",
        "write": "^(marketing\\.(?!commands$).+|operations\\.status)$",
        "read": "^marketing\\.(?!.+\\.dead-letters$).+$",
    });
    management.set_permissions("marketing", permissions).await?;
    let marketing = start_marketing(&environment).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    publish_commands(&channel, 0..3).await?;
    let expected: Vec<_> = (0..3).map(customer).collect();
    wait_for_marketing_rows(&environment, &expected, SOON).await?;
    wait_for_health(&marketing, "cannot be paused").await?;
    let log = environment.log();
    let warnings = log.lines().filter(|line| line.contains(QUEUE) && line.contains("cannot be paused"));
    assert_eq!(warnings.count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn customers_of_paused_queue_are_on_the_way() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = start_marketing(&environment).await?;
    let mut ids = vec![register(&web_store, "Arrived").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    pause(&environment, QUEUE).await?;
    let lost = ids[0].clone();
    ids.extend(register_many(&web_store, 3).await?);
    environment.management().wait_for_depth(QUEUE, 3).await?;

    let output = reconcile(&environment, &["--json", "--patience", "3"]).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((&report["arrived"], &report["missing"]), (&json!(1), &json!(0)), "{report}");
    assert_eq!(report["on_the_way"][QUEUE], 3, "{report}");

    let metrics = format!("127.0.0.1:{}", free_port()?);
    let _console = environment.start_console(&[("METRICS_LISTEN", &metrics)])?;
    let url = format!("http://{metrics}/metrics");
    eventually(REPAIR, "the watch compares the waiting customers", async || {
        let metrics = Metrics::scrape(&url).await.ok()?;
        (metrics.sum("reconcile_differing_customers", &[]) >= 3.0).then_some(())
    })
    .await?;
    change(&environment, &format!("resume {QUEUE}")).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    // A real loss follows, so every request for the waiting customers would precede this one in the log.
    let delete = format!("DELETE FROM customers WHERE customer_id = '{lost}'");
    environment.marketing_database().execute(sqlx::AssertSqlSafe(delete)).await?;
    let requested = async || environment.logs_contain("requested a replay").then_some(());
    eventually(REPAIR, "the loss is requested again", requested).await?;
    let log = environment.log();
    let requests: Vec<_> = log.lines().filter(|line| line.contains("requested a replay")).collect();
    assert!(requests.len() == 1 && requests[0].contains(&lost), "{requests:#?}");
    assert!(ids[1..].iter().all(|id| !requests[0].contains(id)), "{requests:#?}");
    Ok(())
}
