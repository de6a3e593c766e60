//! Reconciliation of idle and busy systems, and the recovery of missing customers.

use std::{process::Stdio, time::Duration};

use contracts::{
    CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use reconciliation::{Report, Sources, reconcile};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, MySqlConnection};
use stack::{ports::free_port, servers::Servers, service::Program};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{
        insert_customers, marketing_ids, register, register_many, wait_for_marketing_rows,
        wait_for_outbox_depth,
    },
    eventually,
    load::RegistrationLoad,
    programs::{self, republish, stop},
    reconciliation_sources,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

/// Returns the sources with pages of `page` customers.
fn sources(environment: &TestEnvironment, page: u32) -> anyhow::Result<Sources> {
    Ok(Sources { page, ..reconciliation_sources(environment.connection_urls())? })
}

/// Returns sources without patience: customers without evidence are on the way.
fn impatient_sources(environment: &TestEnvironment) -> anyhow::Result<Sources> {
    Ok(Sources { patience: Duration::ZERO, ..reconciliation_sources(environment.connection_urls())? })
}

/// Returns the sum of all states in a report.
fn sum_of_states(report: &Report) -> u64 {
    let on_the_way: u64 = report.on_the_way.values().sum();
    let dead_lettered: u64 = report.dead_lettered.values().sum();
    let Report { arrived, in_outbox, missing, behind, ahead, doubled, .. } = report;
    arrived + in_outbox + on_the_way + dead_lettered + missing + behind + ahead + doubled
}

/// Changes the customer's version in the Web Store, and loses the event of the change.
async fn lose_change(environment: &TestEnvironment, customer: &str) -> anyhow::Result<()> {
    let change = "UPDATE customers SET version = 7, changed_at = now(), message_id = gen_random_uuid()
        WHERE id = $1::uuid";
    sqlx::query(change).bind(customer).execute(&environment.web_store_database()).await?;
    Ok(())
}

#[tokio::test]
async fn every_customer_has_exactly_one_state() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let (queue_1, queue_2) = (TRANSFORMER_CUSTOMER_REGISTERED, MARKETING_CREATE_CUSTOMER);
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let mut marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let table = environment.marketing_database();
    table.execute("ALTER TABLE customers ADD CHECK (full_name <> 'Test')").await?;

    let mut arrived = register_many(&web_store, 7).await?;
    wait_for_marketing_rows(&environment, &arrived, SOON).await?;
    let dead_lettered = register(&web_store, "Test").await?;
    management.wait_for_depth(&queue_2.dead_letter_queue(), 1).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let event = CustomerRegistered::TYPE;
    publish(&channel, CustomerRegistered::EXCHANGE, event, properties(event), b"no JSON").await?;
    management.wait_for_depth(&queue_1.dead_letter_queue(), 1).await?;
    let doubled = arrived.pop().unwrap();
    // The statement waits for open transactions, so it also shows that a rejected command leaves none behind.
    timeout(SOON, table.execute("ALTER TABLE customers DROP PRIMARY KEY")).await??;
    let double = "INSERT INTO customers SELECT * FROM customers WHERE customer_id = ?";
    sqlx::query(double).bind(&doubled).execute(&table).await?;
    for source in ["web-store", "another-source"] {
        let unknown = "INSERT INTO customers (customer_id, full_name, email_address, email_opt_in, source,
            customer_since) VALUES (UUID(), 'Unknown', 'unknown@example.org', false, ?, UTC_TIMESTAMP())";
        sqlx::query(unknown).bind(source).execute(&table).await?;
    }
    let behind = arrived.pop().unwrap();
    lose_change(&environment, &behind).await?;
    let ahead = arrived.pop().unwrap();
    let raise = "UPDATE customers SET version = 9 WHERE customer_id = ?";
    sqlx::query(raise).bind(&ahead).execute(&table).await?;
    stop(marketing).await?;
    let missing = register(&web_store, "Missing").await?;
    management.wait_for_depth(queue_2.name, 1).await?;
    management.purge(queue_2.name).await?;
    management.wait_for_depth(queue_2.name, 0).await?;
    marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;

    let without_message = Report {
        customers: 9,
        arrived: 4,
        dead_lettered: [("rule-broken".to_owned(), 1)].into(),
        missing: 1,
        behind: 1,
        ahead: 1,
        doubled: 1,
        missing_ids: vec![missing.parse()?],
        behind_ids: vec![behind.parse()?],
        ahead_ids: vec![ahead.parse()?],
        doubled_ids: vec![doubled.parse()?],
        unknown_rows: 1,
        dead_letters: [
            (queue_1.dead_letter_queue(), [("not-json".to_owned(), 1)].into()),
            (queue_2.dead_letter_queue(), [("rule-broken".to_owned(), 1)].into()),
        ]
        .into(),
        ..Report::default()
    };
    for page in [1, 3, 100] {
        let report = reconcile(&sources(&environment, page)?).await?;
        let observed = report.queues.iter().map(|queue| (queue.ready, queue.consumers, queue.reporting));
        assert_eq!(observed.collect::<Vec<_>>(), [(0, 1, 1); 4], "{report}");
        assert_eq!(Report { queues: Vec::new(), ..report }, without_message, "pages of {page}");
    }
    let ids = [
        ("missing", &missing),
        ("behind", &behind),
        ("ahead", &ahead),
        ("duplicated", &doubled),
        ("dead-lettered", &dead_lettered),
    ];
    assert_ids(&environment, ids).await?;

    stop(marketing).await?;
    register(&web_store, "In the second queue").await?;
    management.wait_for_depth(queue_2.name, 1).await?;
    // The queue may hold the messages of these three.
    let with_message = Report {
        customers: 10,
        on_the_way: [(queue_2.name, 3)].into(),
        missing: 0,
        missing_ids: Vec::new(),
        behind: 0,
        behind_ids: Vec::new(),
        ..without_message
    };
    let report = reconcile(&impatient_sources(&environment)?).await?;
    assert_eq!(Report { queues: Vec::new(), ..report }, with_message);

    stop(transformer).await?;
    register(&web_store, "In the first queue").await?;
    management.wait_for_depth(queue_1.name, 1).await?;
    stop(web_store).await?;
    let unreachable = format!("amqp://unknown:unknown@127.0.0.1:{}/%2f", free_port()?);
    let settings = [("WEB_STORE_BROKER_URL", unreachable.as_str())];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    register(&web_store, "In the outbox").await?;
    let report = reconcile(&impatient_sources(&environment)?).await?;
    let expected =
        Report { customers: 12, in_outbox: 1, on_the_way: [("several-queues", 4)].into(), ..with_message };
    assert_eq!(Report { queues: Vec::new(), ..report }, expected);
    // Reconciliation has taken no message.
    management.wait_for_depth(queue_1.name, 1).await?;
    management.wait_for_depth(queue_2.name, 1).await?;

    assert_output(&environment, &ahead).await
}

/// Checks the id of the only customer in each state.
async fn assert_ids(environment: &TestEnvironment, ids: [(&str, &String); 5]) -> anyhow::Result<()> {
    for (state, id) in ids {
        let output = programs::reconcile(environment, &["--ids", state]).await?;
        assert_eq!((output.status, output.stdout), (1, format!("{id}\n")), "{state}: {}", output.stderr);
    }
    Ok(())
}

/// Checks the table and the JSON of the last state.
async fn assert_output(environment: &TestEnvironment, ahead: &str) -> anyhow::Result<()> {
    let output = programs::reconcile(environment, &["--patience", "0"]).await?;
    assert_eq!(output.status, 1);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = output.stdout.lines().map(words).collect();
    for line in [
        "arrived 4",
        "in the outbox 1",
        "on the way several-queues 4",
        "dead-lettered rule-broken 1",
        "missing 0",
        "ahead 1",
        "duplicated 1",
        "all customers of the Web Store 12",
        "transformer.customer-registered 1 0 0 0",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line} in\n{}", output.stdout);
    }
    let output = programs::reconcile(environment, &["--patience", "0", "--json"]).await?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((output.status, &report["ahead_ids"]), (1, &json!([ahead])));
    Ok(())
}

#[tokio::test]
async fn held_messages_are_on_the_way_and_keep_their_delivery_counts() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let management = environment.management();
    let queue = MARKETING_CREATE_CUSTOMER.name;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let mut ids = register_many(&web_store, 20).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let url = environment.connection_urls().marketing_database_url("root");
    let mut administrator = MySqlConnection::connect(&url).await?;
    administrator.execute("SET GLOBAL read_only = 1").await?;
    for n in 0..10 {
        ids.push(register(&web_store, &format!("Held {n}")).await?);
    }
    let holds =
        async || (management.queues().await.ok()?.get(queue)?.messages_unacknowledged > 0).then_some(());
    eventually(SOON, "Marketing holds messages", holds).await?;

    for _ in 0..5 {
        let output = programs::reconcile(&environment, &["--patience", "3", "--json"]).await?;
        let report: Value = serde_json::from_str(&output.stdout)?;
        assert_eq!((output.status, &report["on_the_way"]), (0, &json!({ (queue): 10 })), "{report}");
        assert_eq!((&report["arrived"], &report["missing"]), (&json!(20), &json!(0)), "{report}");
    }
    servers.mysql.process.pause();
    let output = programs::reconcile(&environment, &["--patience", "0"]).await?;
    servers.mysql.process.resume();
    assert_eq!((output.status, output.stdout.as_str()), (2, ""));
    let sentence = "Marketing's database cannot be read; check that it runs and that MARKETING_DATABASE_URL";
    assert!(output.stderr.contains(sentence), "{}", output.stderr);

    // The only delivery that counts is the one to Marketing.
    stop(marketing).await?;
    management.wait_for_depth(queue, 10).await?;
    let messages = management.take(queue, 100).await?;
    assert_eq!(messages.len(), 10);
    for message in messages {
        let count = message.properties["headers"]["x-delivery-count"].as_u64().unwrap_or(0);
        assert!(count <= 1, "{count} deliveries");
    }
    drop(environment);
    servers.stop().await
}

#[tokio::test]
async fn messages_of_frozen_service_are_on_the_way() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let mut ids = register_many(&web_store, 3).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    marketing.process.pause();
    for n in 0..3 {
        ids.push(register(&web_store, &format!("Frozen {n}")).await?);
    }
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    // At first the frozen service holds the messages. Later the broker closes its connection and keeps them ready.
    for _ in 0..3 {
        let report =
            reconcile(&Sources { patience: Duration::from_secs(6), ..sources(&environment, 100)? }).await?;
        assert_eq!((report.arrived, report.on_the_way.values().sum::<u64>()), (3, 3), "{report}");
        assert!(report.is_consistent(), "{report}");
    }
    marketing.process.resume();
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    assert_eq!(reconcile(&sources(&environment, 100)?).await?.arrived, 6);
    Ok(())
}

#[tokio::test]
async fn alarm_of_broker_does_not_stop_consumers_that_report() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut servers = Servers::start(directory.path(), |_| ()).await?;
    let environment = TestEnvironment::on(&servers).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    stop(marketing).await?;
    // More than a consumer may hold unacknowledged.
    insert_customers(&environment, 1500).await?;
    let output = republish(&environment, &["--since", "2026-01-01T00:00:00Z"], "").await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    environment.management().wait_for_depth(MARKETING_CREATE_CUSTOMER.name, 1500).await?;
    drop(web_store);
    servers.broker.set_memory_alarm(true).await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let emptied = async || (marketing_ids(&environment).await.ok()?.len() == 1500).then_some(());
    eventually(SOON, "all messages are consumed during the alarm", emptied).await?;
    environment.management().wait_for_depth(MARKETING_CREATE_CUSTOMER.name, 0).await?;
    servers.broker.set_memory_alarm(false).await?;
    drop(environment);
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_customer_counts_as_missing_under_load() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let load = RegistrationLoad::start(&web_store, 8)?;
    let sources = Sources { page: 500, ..reconciliation_sources(environment.connection_urls())? };
    let mut rounds = 0;
    loop {
        let report = reconcile(&sources).await?;
        assert_eq!(report.customers, sum_of_states(&report), "{report}");
        assert!(report.is_consistent(), "{report}");
        assert_eq!(report.unknown_rows, 0, "{report}");
        rounds += 1;
        if report.customers >= 3000 && rounds >= 10 {
            break;
        }
    }
    let load = load.stop().await?;
    assert_eq!(load.failures, 0, "refused registrations");
    wait_for_marketing_rows(&environment, &load.confirmed, SOON).await?;
    let output = programs::reconcile(&environment, &["--json"]).await?;
    let report: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!((output.status, &report["arrived"]), (0, &json!(load.confirmed.len())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_deleted_under_load_are_found_and_sent_again() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let (queue_1, queue_2) = (TRANSFORMER_CUSTOMER_REGISTERED.name, MARKETING_CREATE_CUSTOMER.name);
    let transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let load = RegistrationLoad::start(&web_store, 8)?;
    let wait_for_50 = async |queue: &str| {
        let holds_50 = async || (management.depth(queue).await.ok()? >= 50).then_some(());
        eventually(SOON, "a queue holds 50 messages", holds_50).await
    };
    stop(marketing).await?;
    wait_for_50(queue_2).await?;
    management.purge(queue_2).await?;
    stop(transformer).await?;
    wait_for_50(queue_1).await?;
    management.delete_queue(queue_1).await?;
    let _transformer = environment.start_ready(Program::Transformer, NO_REPLAY).await?;
    let _marketing = environment.start_ready(Program::Marketing, NO_REPLAY).await?;

    let output = programs::reconcile(&environment, &["--missing-ids"]).await?;
    assert_eq!(output.status, 1, "{}", output.stderr);
    let mut missing: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    assert!(missing.len() >= 100, "the messages of both queues: {}", output.stderr);

    let load = load.stop().await?;
    assert_eq!(load.failures, 0, "refused registrations");
    eventually(SOON, "all other customers arrive", async || {
        let arrived = marketing_ids(&environment).await.ok()?.len();
        (arrived == load.confirmed.len() - missing.len()).then_some(())
    })
    .await?;
    let arrived = marketing_ids(&environment).await?;
    let mut expected: Vec<_> = load.confirmed.iter().filter(|id| !arrived.contains(id)).cloned().collect();
    expected.sort();
    missing.sort();
    assert_eq!(missing, expected);

    let republished = republish(&environment, &[], &output.stdout).await?;
    assert_eq!(republished.status, 0, "{}", republished.stderr);
    wait_for_marketing_rows(&environment, &load.confirmed, SOON).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let output = programs::reconcile(&environment, &[]).await?;
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{}", output.stdout);
    Ok(())
}

#[tokio::test]
async fn unreadable_source_returns_status_2_and_shows_no_password() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let port = free_port()?;
    let output = programs::reconcile(&environment, &[]).await?;
    assert_eq!(output.status, 2, "without tables: {}", output.stderr);
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    assert_eq!(programs::reconcile(&environment, &[]).await?.status, 0);
    let postgres = format!("postgres://me:hush@127.0.0.1:{port}/none");
    let mysql = format!("mysql://me:hush@127.0.0.1:{port}/none");
    let broker = format!("amqp://me:hush@127.0.0.1:{port}/none");
    let unreadable = [
        ("--web-store-database-url", postgres.as_str(), "the Web Store's database cannot be read"),
        ("--marketing-database-url", &mysql, "Marketing's database cannot be read"),
        (
            "--broker-url",
            &broker,
            "the broker cannot be read; check that it runs and that BROKER_URL leads to it",
        ),
        ("--target-broker-url", &broker, "that TARGET_BROKER_URL leads to it: the broker at 127.0.0.1"),
        ("--broker-url", "amqp//me:hush@127.0.0.1", "--broker-url"),
        ("--marketing-database-url", "mysql//me:hush", "--marketing-database-url"),
    ];
    for (setting, url, cause) in unreadable {
        let output = programs::reconcile(&environment, &[setting, url]).await?;
        assert_eq!((output.status, output.stdout.as_str()), (2, ""), "{setting}");
        assert!(output.stderr.contains(cause) && !output.stderr.contains("hush"), "{}", output.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn closed_pipe_does_not_change_exit_status() -> anyhow::Result<()> {
    let (environment, _web_store) = TestEnvironment::with_web_store().await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    // Many missing customers, so that their ids exceed the buffer of a pipe, which is 64 KiB.
    insert_customers(&environment, 5000).await?;
    for lines_read in [0, 1] {
        let mut command = programs::reconcile_command(&environment)?;
        command.arg("--missing-ids");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..lines_read {
            assert!(timeout(SOON, reader.read_line(&mut String::new())).await?? > 0, "no line");
        }
        drop(reader);
        let output = timeout(SOON, child.wait_with_output()).await??;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "after {lines_read} lines: {stderr}");
        assert!(stderr.contains("all customers") && !stderr.contains("panicked"), "{stderr}");
    }
    Ok(())
}
