//! `web-store republish`: sends the events of selected customers again, unchanged.

use std::path::Path;

use contracts::{CustomerRegistered, Message};
use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use sqlx::{Executor, migrate::Migrator};
use stack::service::Program;
use system_tests::{
    SOON, TestEnvironment,
    broker_client::open_channel,
    customers::{
        insert_customers, outbox_depth, register_many, wait_for_marketing_rows, wait_for_outbox_depth,
    },
    programs::republish,
};

/// Returns the output of `web-store republish` if all ids are known.
fn summary(written: i64, waiting: i64) -> String {
    format!("events: {written} written to the outbox, {waiting} waiting there already; unknown ids: 0\n")
}

async fn empty_outbox(environment: &TestEnvironment) -> anyhow::Result<()> {
    environment.web_store_database().execute("DELETE FROM outbox").await?;
    Ok(())
}

#[tokio::test]
async fn republished_event_is_unchanged_and_creates_no_second_row() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let (exchange, key) = (CustomerRegistered::EXCHANGE, CustomerRegistered::TYPE);
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    channel.queue_declare("own".into(), QueueDeclareOptions::default(), FieldTable::default()).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind("own".into(), exchange.into(), key.into(), bind, FieldTable::default()).await?;

    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    // Without the transformer's queue, the test's own queue would be the only one that gets events.
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let _marketing = environment.start_marketing()?;
    let ids = register_many(&web_store, 3).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let arguments = ["--customer", &ids[0], "--customer", &ids[1], &ids[2]];
    let output = republish(&environment, &arguments, "").await?;
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, summary(3, 0));
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    assert_eq!(republish(&environment, &[], &ids.join("\n")).await?.status, 0);
    wait_for_outbox_depth(&environment, 0, SOON).await?;

    environment.management().wait_for_depth("own", 9).await?;
    let copies = environment.management().take("own", 9).await?;
    for (n, first) in copies.iter().take(3).enumerate() {
        for copy in copies.iter().skip(3).filter(|copy| copy.payload.contains(&ids[n])) {
            assert_eq!(copy.payload, first.payload);
            for property in ["message_id", "correlation_id", "type", "timestamp", "app_id"] {
                assert_eq!(copy.properties[property], first.properties[property], "{property}");
            }
        }
        assert_eq!(copies.iter().filter(|copy| copy.payload.contains(&ids[n])).count(), 3);
    }
    wait_for_marketing_rows(&environment, &ids, SOON).await
}

#[tokio::test]
async fn waiting_event_is_not_written_and_unknown_id_is_listed() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let ids = register_many(&web_store, 2).await?;
    let unknown = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71";
    let input = format!("{}\n\n{unknown}\n{}\n", ids[1], ids[0]);
    let output = republish(&environment, &[], &input).await?;
    assert_eq!(output.status, 1);
    assert_eq!(output.stdout, "events: 0 written to the outbox, 2 waiting there already; unknown ids: 1\n");
    assert!(output.stderr.contains(&format!("unknown: {unknown}\n")), "{}", output.stderr);
    assert_eq!(outbox_depth(&environment).await?, 2);
    Ok(())
}

#[tokio::test]
async fn malformed_selection_writes_nothing_and_names_cause() -> anyhow::Result<()> {
    let (environment, web_store) = TestEnvironment::with_web_store().await?;
    let ids = register_many(&web_store, 1).await?;
    empty_outbox(&environment).await?;
    let output = republish(&environment, &[], &format!("{}\nnot-an-id\n", ids[0])).await?;
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("line 2: `not-an-id` is not a customer's id"), "{}", output.stderr);
    let selections: [(&[&str], &str); 4] = [
        (&["--customer", "not-an-id"], "`not-an-id` is not a customer's id"),
        (&["--since", "yesterday"], "`yesterday` is not a time like 2026-01-31T09:30:00Z"),
        (&["--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"], "before --until"),
        (&["--since", "2026-02-01T00:00:00Z", "--customer", &ids[0]], "cannot be used with"),
    ];
    for (arguments, cause) in selections {
        let output = republish(&environment, arguments, "").await?;
        assert!(output.status != 0 && output.stderr.contains(cause), "{arguments:?}: {output:?}");
    }
    assert_eq!(outbox_depth(&environment).await?, 0);
    Ok(())
}

#[tokio::test]
async fn period_includes_since_and_excludes_until() -> anyhow::Result<()> {
    let (environment, _web_store) = TestEnvironment::with_web_store().await?;
    insert_customers(&environment, 5).await?;
    let minute = |n| format!("2026-01-31T00:0{n}:00Z");
    let periods: [(&[&str], i64); 3] = [
        (&["--since", &minute(1), "--until", &minute(3)], 2),
        (&["--since", &minute(1)], 4),
        (&["--until", &minute(1)], 1),
    ];
    for (period, events) in periods {
        let output = republish(&environment, period, "").await?;
        assert_eq!((output.status, output.stdout), (0, summary(events, 0)), "{period:?} {}", output.stderr);
        assert_eq!(outbox_depth(&environment).await?, events);
        empty_outbox(&environment).await?;
    }
    Ok(())
}

#[tokio::test]
async fn customers_on_several_pages_are_each_sent_once() -> anyhow::Result<()> {
    let (environment, _web_store) = TestEnvironment::with_web_store().await?;
    insert_customers(&environment, 2000).await?;
    let output = republish(&environment, &["--since", "2026-01-31T00:00:00Z"], "").await?;
    assert_eq!(output.stdout, summary(2000, 0));
    let select = sqlx::query_scalar("SELECT id::text FROM customers");
    let ids: Vec<String> = select.fetch_all(&environment.web_store_database()).await?;
    let ids = ids.join("\n");
    let output = republish(&environment, &[], &format!("{ids}\n{ids}")).await?;
    assert_eq!(output.stdout, summary(0, 2000));
    assert_eq!(outbox_depth(&environment).await?, 2000);
    Ok(())
}

#[tokio::test]
async fn customer_without_stored_message_id_gets_stable_one() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let database = environment.web_store_database();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web-store/migrations");
    let migrations = Migrator::new(directory).await?;
    migrations.run_to(1, &database).await?;
    let old_rows = "INSERT INTO customers VALUES
            ('01938c5e-7b1a-7c3e-9f00-000000000001', 'Ann', 'ann@example.org', true, now()),
            ('01938c5e-7b1a-7c3e-9f00-000000000002', 'Bob', 'bob@example.org', true, now());
        INSERT INTO outbox VALUES ('01938c5e-7b1a-7c3e-9f00-00000000000a', 'web-store.customer-registered.v1',
            '', '', now(), '{\"customer_id\":\"01938c5e-7b1a-7c3e-9f00-000000000001\"}')";
    database.execute(old_rows).await?;
    let _web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let output = republish(&environment, &["--until", "9999-01-01T00:00:00Z"], "").await?;
    assert_eq!(output.stdout, summary(1, 1));
    let select = sqlx::query_scalar("SELECT message_id::text FROM outbox ORDER BY message_id");
    let ids: Vec<String> = select.fetch_all(&database).await?;
    assert_eq!(ids, ["01938c5e-7b1a-7c3e-9f00-000000000002", "01938c5e-7b1a-7c3e-9f00-00000000000a"]);
    Ok(())
}
