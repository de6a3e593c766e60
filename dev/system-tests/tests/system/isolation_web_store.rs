//! Isolation of the Web Store: a fault affects only its own message, application, or server.

use std::{future::pending, time::Duration};

use anyhow::ensure;
use contracts::topology::{TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_EVENTS};
use futures_util::future::try_join_all;
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use stack::service::{Program, Service};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::open_channel,
    customers::{
        http_client, post_form, register, register_at, register_many, wait_for_marketing_rows,
        wait_for_outbox_depth,
    },
    eventually,
    programs::run,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
    sync::watch,
    time::{Instant, sleep},
};

/// The longest time that an operator would wait.
const MINUTE: Duration = Duration::from_mins(1);

async fn ready(service: anyhow::Result<Service>) -> anyhow::Result<Service> {
    let mut service = service?;
    service.wait_ready(SOON).await?;
    Ok(service)
}

/// The queue of another application that is full and refuses every message.
async fn bind_full_queue(environment: &TestEnvironment, routing_key: &str) -> anyhow::Result<()> {
    let (_connection, channel) = open_channel(environment).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare("loyalty.full".into(), durable, arguments).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            "loyalty.full".into(),
            WEB_STORE_EVENTS.into(),
            routing_key.into(),
            bind,
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

async fn row<T>(database: &PgPool, query: &'static str) -> anyhow::Result<T>
where
    T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
{
    Ok(sqlx::query_scalar(query).fetch_one(database).await?)
}

async fn health(web_store: &Service) -> anyhow::Result<(StatusCode, Value)> {
    let response = http_client()?.get(format!("{}/health/ready", web_store.url())).send().await?;
    Ok((response.status(), response.json().await?))
}

#[tokio::test]
async fn full_queue_of_another_application_delays_no_event() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    let _transformer = ready(environment.start_transformer()).await?;
    let _marketing = ready(environment.start_marketing()).await?;
    bind_full_queue(&environment, "web-store.customer-registered.v1").await?;
    let mut ids = register_many(&web_store, 600).await?;
    wait_for_marketing_rows(&environment, &ids, MINUTE).await?;
    wait_for_outbox_depth(&environment, 600, SOON).await?;

    // A retry is a duplicate for the queues that took the event. One event at a time is retried.
    let database = environment.web_store_database();
    let attempts = "SELECT sum(attempts) - 600 FROM outbox";
    let retried: i64 = row(&database, attempts).await?;
    let (started, until) = (Instant::now(), Duration::from_secs(15));
    eventually(SOON, "a retry after 15 s", async || {
        (started.elapsed() > until && row::<i64>(&database, attempts).await.ok()? > retried).then_some(())
    })
    .await?;
    let retried = row::<i64>(&database, attempts).await? - retried;
    assert!(retried <= 30, "{retried} duplicates in 15 s");

    ids.push(register(&web_store, "While full").await?);
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    environment.management().delete_queue("loyalty.full").await?;
    wait_for_outbox_depth(&environment, 0, MINUTE).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    Ok(())
}

/// RabbitMQ continues to refuse messages on the channels that it refused before.
#[tokio::test]
async fn events_leave_after_the_limit_of_a_full_queue_is_removed() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    let mut transformer = ready(environment.start_transformer()).await?;
    let management = environment.management();
    transformer.terminate(SOON).await?;
    let limit = json!({"max-length": 2, "overflow": "reject-publish"});
    management.set_policy("limit", "^transformer[.]customer-registered$", limit).await?;
    let ids = register_many(&web_store, 20).await?;
    let refused = "SELECT count(*) FROM outbox WHERE last_refusal = 'nacked' AND attempts > 1";
    let database = environment.web_store_database();
    eventually(SOON, "a refused retry", async || {
        (row::<i64>(&database, refused).await.ok()? > 0).then_some(())
    })
    .await?;

    // The queue is still full, and only the limit is gone.
    management.delete_policy("limit").await?;
    wait_for_outbox_depth(&environment, 0, MINUTE).await?;
    let _transformer = ready(environment.start_transformer()).await?;
    let _marketing = ready(environment.start_marketing()).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn event_without_a_queue_delays_no_event_of_another_type() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    let response = post_form(&web_store, "Before").await?;
    let link = format!("{}{}", web_store.url(), response.headers()[header::LOCATION].to_str().unwrap());
    // Only registrations have a queue.
    {
        let (_connection, channel) = open_channel(&environment).await?;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare("audit".into(), durable, FieldTable::default()).await?;
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        let key = "web-store.customer-registered.v1";
        channel.queue_bind("audit".into(), WEB_STORE_EVENTS.into(), key.into(), bind, none).await?;
    }
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let changed = http_client()?.post(&link).json(&json!({"name": "After"})).send().await?;
    assert_eq!(changed.status(), StatusCode::OK);
    register_many(&web_store, 300).await?;
    wait_for_outbox_depth(&environment, 1, SOON).await?;
    let database = environment.web_store_database();
    let parked = "SELECT message_type || ' ' || last_refusal FROM outbox WHERE retry_at IS NOT NULL";
    assert_eq!(row::<String>(&database, parked).await?, "web-store.customer-details-changed.v1 returned");
    let _transformer = ready(environment.start_transformer()).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    Ok(())
}

/// The number of sessions of the services' user on the test's database.
async fn backends(database: &mut PgConnection) -> anyhow::Result<i64> {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'web_store' AND datname = $1";
    let database_name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&mut *database).await?;
    Ok(sqlx::query_scalar(count).bind(database_name).fetch_one(database).await?)
}

#[tokio::test]
async fn locked_table_leaves_no_backends_behind() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    let response = post_form(&web_store, "Before").await?;
    let link = format!("{}{}", web_store.url(), response.headers()[header::LOCATION].to_str().unwrap());
    let url = environment.connection_urls().web_store_database_url("web_store_owner");
    let mut observer = PgConnection::connect(&url).await?;
    let mut owner = PgConnection::connect(&url).await?;
    let mut lock = owner.begin().await?;
    sqlx::query("LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await?;
    let end = Instant::now() + Duration::from_secs(25);
    let client = |n: usize| {
        let (web_store, link) = (&web_store, &link);
        async move {
            while Instant::now() < end {
                let response = if n.is_multiple_of(2) {
                    post_form(web_store, &format!("While locked {n}")).await?
                } else {
                    http_client()?.get(link).send().await?
                };
                ensure!(response.status() == StatusCode::SERVICE_UNAVAILABLE, "{}", response.status());
            }
            anyhow::Ok(())
        }
    };
    let observe = async {
        let mut most = 0;
        while Instant::now() < end {
            most = most.max(backends(&mut observer).await?);
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(most)
    };
    let (_, most) = tokio::try_join!(try_join_all((0..8).map(client)), observe)?;
    // Two workers, the relay, four page loads at a time, and one that is just ending for each of them.
    assert!(most <= 14, "{most} backends");
    lock.rollback().await?;
    let client = http_client()?;
    let back = async || register_at(&client, &web_store.url(), "After").await.ok();
    eventually(SOON, "registering works again", back).await?;
    Ok(())
}

/// Passes connections on to a server, until it forgets them: then they stay open and silent, as behind a NAT.
struct Nat {
    port: u16,
    forgotten: watch::Sender<()>,
}

impl Nat {
    async fn to(server: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let forgotten = watch::Sender::new(());
        let forget = forgotten.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut forget = forget.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await?;
                    tokio::select! {
                        copied = copy_bidirectional(&mut near, &mut far) => copied.map(drop),
                        _ = forget.changed() => pending().await,
                    }
                });
            }
        });
        Ok(Self { port, forgotten })
    }
}

#[tokio::test]
async fn silent_idle_connections_fail_no_request() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let port = environment.connection_urls().ports.postgres;
    let nat = Nat::to(port).await?;
    let direct = environment.connection_urls().web_store_database_url("web_store");
    let url = direct.replace(&format!(":{port}/"), &format!(":{}/", nat.port));
    let web_store = ready(environment.start(Program::WebStore, &[("WEB_STORE_DATABASE_URL", &url)])).await?;
    // Several connections become idle: those of the workers, and those of page loads.
    let mut links = Vec::new();
    for response in try_join_all(["A", "B", "C", "D"].map(|name| post_form(&web_store, name))).await? {
        links.push(format!("{}{}", web_store.url(), response.headers()[header::LOCATION].to_str().unwrap()));
    }
    let client = http_client()?;
    try_join_all(links.iter().map(|link| client.get(link).send())).await?;
    for round in ["first", "second"] {
        // Longer than a connection may be idle without a ping.
        sleep(Duration::from_secs(1)).await;
        nat.forgotten.send_replace(());
        assert_eq!(post_form(&web_store, &format!("After {round}")).await?.status(), StatusCode::SEE_OTHER);
        for link in &links {
            assert_eq!(http_client()?.get(link).send().await?.status(), StatusCode::OK);
        }
    }
    Ok(())
}

#[tokio::test]
async fn read_only_server_is_reported_and_left() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    let response = post_form(&web_store, "Before").await?;
    let link = format!("{}{}", web_store.url(), response.headers()[header::LOCATION].to_str().unwrap());
    let url = environment.connection_urls().web_store_database_url("postgres");
    let mut administrator = PgConnection::connect(&url).await?;
    let name = &environment.connection_urls().web_store_database;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    execute(&mut administrator, &read_only).await?;
    // The sessions of this server are read-only from here on, also after it accepts writes again.
    execute(
        &mut administrator,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'web_store' AND datname = current_database()",
    )
    .await?;
    let reported = eventually(SOON, "health reports the read-only server", async || {
        let (status, body) = health(&web_store).await.ok()?;
        let problem = body["parts"]["postgres"].as_str()?.to_owned();
        (status == StatusCode::SERVICE_UNAVAILABLE && problem.contains("read-only")).then_some(problem)
    })
    .await?;
    assert!(!reported.contains("127.0.0.1"), "{reported}");
    let refused = post_form(&web_store, "While read-only").await?;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(http_client()?.get(&link).send().await?.status(), StatusCode::OK);
    let changed = http_client()?.post(&link).json(&json!({"name": "Changed"}));
    assert_eq!(changed.send().await?.status(), StatusCode::SERVICE_UNAVAILABLE);

    execute(&mut administrator, &format!("ALTER DATABASE {name} RESET default_transaction_read_only"))
        .await?;
    let client = http_client()?;
    let back = async || register_at(&client, &web_store.url(), "After").await.ok();
    eventually(SOON, "registering works again", back).await?;
    eventually(MINUTE, "the service is ready", async || {
        (health(&web_store).await.ok()?.0 == StatusCode::OK).then_some(())
    })
    .await?;
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'web_store' AND datname = current_database()";
    assert!(row::<i64>(&environment.web_store_database(), sessions).await? > 0);
    Ok(())
}

async fn execute(connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    connection.execute(AssertSqlSafe(statement.to_owned())).await?;
    Ok(())
}

/// Connects to the test's database as the owner of its schema.
async fn owner(environment: &TestEnvironment) -> anyhow::Result<PgConnection> {
    let url = environment.connection_urls().web_store_database_url("web_store_owner");
    Ok(PgConnection::connect(&url).await?)
}

#[tokio::test]
async fn events_leave_a_database_with_a_newer_migration() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = ready(environment.start_transformer()).await?;
    let mut newer = ready(environment.start_web_store()).await?;
    newer.terminate(SOON).await?;
    let unknown = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (99, 'of a later release', true, 'x', 0)";
    execute(&mut owner(&environment).await?, unknown).await?;
    for owner_url in [environment.connection_urls().web_store_database_url("web_store_owner"), String::new()]
    {
        let settings = [("WEB_STORE_OWNER_DATABASE_URL", owner_url.as_str())];
        let mut web_store = ready(environment.start(Program::WebStore, &settings)).await?;
        let (_, body) = health(&web_store).await?;
        assert_eq!(body["parts"]["schema"], "up", "{body}");
        register(&web_store, &format!("With {} characters", owner_url.len())).await?;
        wait_for_outbox_depth(&environment, 0, SOON).await?;
        web_store.terminate(SOON).await?;
    }
    let events = environment.management().depth(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    assert!(events <= 2, "{events}");
    Ok(())
}

#[tokio::test]
async fn relay_starts_after_another_process_has_migrated() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = ready(environment.start_transformer()).await?;
    let without_owner = [("WEB_STORE_OWNER_DATABASE_URL", "")];
    let mut web_store = environment.start(Program::WebStore, &without_owner)?;
    web_store.wait_live(SOON).await?;
    eventually(SOON, "health names the missing migrations", async || {
        let (status, body) = health(&web_store).await.ok()?;
        let schema = body["parts"]["schema"].as_str()?;
        (status == StatusCode::SERVICE_UNAVAILABLE && schema.contains("[1, 2, 3, 4, 5, 8, 10, 11, 12]"))
            .then_some(())
    })
    .await?;
    let mut migrate = Command::new(Program::WebStore.path()?);
    let owner_url = environment.connection_urls().web_store_database_url("web_store_owner");
    migrate.env_clear().env("WEB_STORE_OWNER_DATABASE_URL", owner_url).arg("migrate");
    assert_eq!(run(migrate, "").await?.status, 0);
    web_store.wait_ready(SOON).await?;
    register(&web_store, "After").await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn next_start_completes_a_killed_index_migration() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let mut web_store = ready(environment.start_web_store()).await?;
    indexes_are_complete(&environment).await?;
    web_store.terminate(SOON).await?;
    // One index was being built, the other one was complete, and neither migration was recorded.
    let url = environment.connection_urls().web_store_database_url("postgres");
    let mut administrator = PgConnection::connect(&url).await?;
    let unfinished = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox_fresh'::regclass";
    execute(&mut administrator, unfinished).await?;
    execute(&mut administrator, "DELETE FROM _sqlx_migrations WHERE version IN (6, 7)").await?;
    let _web_store = ready(environment.start_web_store()).await?;
    indexes_are_complete(&environment).await?;
    Ok(())
}

async fn indexes_are_complete(environment: &TestEnvironment) -> anyhow::Result<()> {
    let database = environment.web_store_database();
    let complete = "SELECT count(*) FROM pg_index WHERE indisvalid
        AND indexrelid IN (to_regclass('outbox_fresh'), to_regclass('outbox_parked'))";
    let recorded = "SELECT count(*) FROM _sqlx_migrations WHERE success AND version IN (6, 7)";
    eventually(SOON, "both indexes", async || {
        (row::<i64>(&database, complete).await.ok()? == 2 && row::<i64>(&database, recorded).await.ok()? == 2)
            .then_some(())
    })
    .await
}

#[tokio::test]
async fn registration_does_not_wait_behind_a_migration() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = ready(environment.start_web_store()).await?;
    indexes_are_complete(&environment).await?;
    let mut schema = owner(&environment).await?;
    let earlier = "ALTER TABLE outbox DROP COLUMN attempts, DROP COLUMN retry_at, DROP COLUMN last_refusal,
        DROP COLUMN queued_at, DROP COLUMN is_replay; DROP TABLE replays; DROP TABLE erased_customers;
        DELETE FROM _sqlx_migrations WHERE version >= 5";
    execute(&mut schema, earlier).await?;
    // A report that reads for a long time. The migration needs the table for itself.
    let mut reader = owner(&environment).await?;
    let mut report = reader.begin().await?;
    sqlx::query("SELECT count(*) FROM outbox").execute(&mut *report).await?;
    let mut migrating = environment.start_web_store()?;
    migrating.wait_live(SOON).await?;
    for n in 0..4 {
        eventually(SOON, "the migration waits for its lock", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass";
            (row::<i64>(&environment.web_store_database(), waiting).await.ok()? > 0).then_some(())
        })
        .await?;
        assert_eq!(post_form(&web_store, &format!("Meanwhile {n}")).await?.status(), StatusCode::SEE_OTHER);
    }
    report.rollback().await?;
    migrating.wait_ready(MINUTE).await?;
    Ok(())
}
