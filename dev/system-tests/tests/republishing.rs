//! Events that are sent again: the same events as before, for just the customers that were asked for.

use contracts::{CustomerRegistered, Message};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::{ExchangeKind, types::FieldTable};
use sqlx::migrate::Migrator;
use sqlx::{Executor, PgPool};
use stack::service::Service;
use system_tests::broker_client::open_channel;
use system_tests::customers::{outbox_depth, register_many, wait_for_marketing_rows, wait_for_outbox_depth};
use system_tests::programs::republish;
use system_tests::{SOON, TestEnvironment, eventually};

/// The Web Store alone: nobody is bound to receive events, so all that is sent again stays in the outbox.
async fn web_store(site: &TestEnvironment) -> Service {
    let mut web_store = site.start_web_store().unwrap();
    web_store.wait_ready(SOON).await.unwrap();
    web_store
}

async fn empty_the_outbox(site: &TestEnvironment) {
    site.web_store_database().execute("DELETE FROM outbox").await.unwrap();
}

/// So many customers, one each minute from midnight on, and nothing in the outbox.
async fn customers(database: &PgPool, count: i32) {
    let insert = "INSERT INTO customers (id, name, email, marketing_consent, registered_at, message_id)
        SELECT gen_random_uuid(), 'Customer ' || n, 'c' || n || '@example.org', true,
            '2026-01-31T00:00:00Z'::timestamptz + n * interval '1 minute', gen_random_uuid()
        FROM generate_series(0, $1 - 1) n";
    sqlx::query(insert).bind(count).execute(database).await.unwrap();
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_the_same_event_and_makes_no_second_row() {
    let site = TestEnvironment::new().await.unwrap();
    let (_connection, channel) = open_channel(&site).await.unwrap();
    let events = || CustomerRegistered::EXCHANGE.into();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(events(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    channel.queue_declare("own".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    let (bind, key) = (QueueBindOptions::default(), CustomerRegistered::TYPE.into());
    channel.queue_bind("own".into(), events(), key, bind, FieldTable::default()).await.unwrap();

    let web_store = web_store(&site).await;
    let (mut transformer, _marketing) = (site.start_transformer().unwrap(), site.start_marketing().unwrap());
    // It is bound by then; until then the test's own queue would be the only one that gets events.
    transformer.wait_ready(SOON).await.unwrap();
    let ids = register_many(&web_store, 3).await.unwrap();
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
    let said = republish(&site, &["--customer", &ids[0], "--customer", &ids[1], &ids[2]], "").await.unwrap();
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    assert_eq!(said.stdout, "events: 3 written to the outbox, 0 waiting there already; unknown ids: 0\n");
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();
    assert_eq!(republish(&site, &[], &ids.join("\n")).await.unwrap().status, 0);
    wait_for_outbox_depth(&site, 0, SOON).await.unwrap();

    eventually(SOON, "each three times", async || {
        (site.management().depth("own").await.ok()? == 9).then_some(())
    })
    .await
    .unwrap();
    let copies = site.management().take("own", 9).await.unwrap();
    for (n, first) in copies.iter().take(3).enumerate() {
        for again in copies.iter().skip(3).filter(|copy| copy.payload.contains(&ids[n])) {
            assert_eq!(again.payload, first.payload);
            for property in ["message_id", "correlation_id", "type", "timestamp", "app_id"] {
                assert_eq!(again.properties[property], first.properties[property], "{property}");
            }
        }
        let of_this_customer = copies.iter().filter(|copy| copy.payload.contains(&ids[n])).count();
        assert_eq!(of_this_customer, 3);
    }
    wait_for_marketing_rows(&site, &ids, SOON).await.unwrap();
}

#[tokio::test]
async fn an_event_that_still_waits_is_left_alone_and_an_unknown_customer_is_named() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let ids = register_many(&web_store, 2).await.unwrap();
    let unknown = "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71";
    let said = republish(&site, &[], &format!("{}\n\n{unknown}\n{}\n", ids[1], ids[0])).await.unwrap();
    assert_eq!(said.status, 1);
    assert_eq!(said.stdout, "events: 0 written to the outbox, 2 waiting there already; unknown ids: 1\n");
    assert!(said.stderr.contains(&format!("unknown: {unknown}\n")), "{}", said.stderr);
    assert_eq!(outbox_depth(&site).await.unwrap(), 2);
}

#[tokio::test]
async fn a_malformed_choice_writes_nothing_and_says_what_is_wrong() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = web_store(&site).await;
    let ids = register_many(&web_store, 1).await.unwrap();
    empty_the_outbox(&site).await;
    let said = republish(&site, &[], &format!("{}\nnobody\n", ids[0])).await.unwrap();
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("line 2: `nobody` is not a customer's id"), "{}", said.stderr);
    let choices: [(&[&str], &str); 4] = [
        (&["--customer", "nobody"], "`nobody` is not a customer's id"),
        (&["--since", "yesterday"], "`yesterday` is not a time like 2026-01-31T09:30:00Z"),
        (&["--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"], "before --until"),
        (&["--since", "2026-02-01T00:00:00Z", "--customer", &ids[0]], "cannot be used with"),
    ];
    for (arguments, reason) in choices {
        let said = republish(&site, arguments, "").await.unwrap();
        assert!(said.status != 0 && said.stderr.contains(reason), "{arguments:?}: {said:?}");
    }
    assert_eq!(outbox_depth(&site).await.unwrap(), 0);
}

#[tokio::test]
async fn a_period_begins_with_since_and_ends_before_until() {
    let site = TestEnvironment::new().await.unwrap();
    let _web_store = web_store(&site).await;
    customers(&site.web_store_database(), 5).await;
    let minute = |n| format!("2026-01-31T00:0{n}:00Z");
    let periods: [(&[&str], i64); 3] = [
        (&["--since", &minute(1), "--until", &minute(3)], 2),
        (&["--since", &minute(1)], 4),
        (&["--until", &minute(1)], 1),
    ];
    for (period, events) in periods {
        let said = republish(&site, period, "").await.unwrap();
        let expected =
            format!("events: {events} written to the outbox, 0 waiting there already; unknown ids: 0\n");
        assert_eq!((said.status, said.stdout), (0, expected), "{period:?} {}", said.stderr);
        assert_eq!(outbox_depth(&site).await.unwrap(), events);
        empty_the_outbox(&site).await;
    }
}

#[tokio::test]
async fn several_pages_of_customers_are_sent_each_once() {
    let site = TestEnvironment::new().await.unwrap();
    let _web_store = web_store(&site).await;
    let database = site.web_store_database();
    customers(&database, 2000).await;
    let said = republish(&site, &["--since", "2026-01-31T00:00:00Z"], "").await.unwrap();
    assert_eq!(said.stdout, "events: 2000 written to the outbox, 0 waiting there already; unknown ids: 0\n");
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id::text FROM customers").fetch_all(&database).await.unwrap();
    let twice = [ids.join("\n"), ids.join("\n")].join("\n");
    let said = republish(&site, &[], &twice).await.unwrap();
    assert_eq!(said.stdout, "events: 0 written to the outbox, 2000 waiting there already; unknown ids: 0\n");
    assert_eq!(outbox_depth(&site).await.unwrap(), 2000);
}

#[tokio::test]
async fn a_customer_from_before_message_ids_were_kept_always_gets_the_same_one() {
    let site = TestEnvironment::new().await.unwrap();
    let database = site.web_store_database();
    let migrations = Migrator::new(std::path::Path::new("../web-store/migrations")).await.unwrap();
    migrations.run_to(1, &database).await.unwrap();
    let earlier = "INSERT INTO customers VALUES
            ('01938c5e-7b1a-7c3e-9f00-000000000001', 'Ann', 'ann@example.org', true, now()),
            ('01938c5e-7b1a-7c3e-9f00-000000000002', 'Bob', 'bob@example.org', true, now());
        INSERT INTO outbox VALUES ('01938c5e-7b1a-7c3e-9f00-00000000000a', 'web-store.customer-registered.v1',
            '', '', now(), '{\"customer_id\":\"01938c5e-7b1a-7c3e-9f00-000000000001\"}')";
    database.execute(earlier).await.unwrap();
    let _web_store = web_store(&site).await;
    let said = republish(&site, &["--until", "9999-01-01T00:00:00Z"], "").await.unwrap();
    assert_eq!(said.stdout, "events: 1 written to the outbox, 1 waiting there already; unknown ids: 0\n");
    let ids: Vec<String> = sqlx::query_scalar("SELECT message_id::text FROM outbox ORDER BY message_id")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(ids, ["01938c5e-7b1a-7c3e-9f00-000000000002", "01938c5e-7b1a-7c3e-9f00-00000000000a"]);
}
