//! The metrics: complete, documented, exact, and without personal data; and the probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_CREATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_REGISTERED},
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use stack::{
    ports::free_port,
    service::{Program, Service},
};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{
        http_client, post_form, register, register_many, wait_for_marketing_rows, wait_for_outbox_depth,
    },
    eventually,
    metrics::Metrics,
};
use tokio::time::Duration;

/// Two probes are missing after 25 s.
const PROBES_MISSED: Duration = Duration::from_mins(1);

async fn start(
    environment: &TestEnvironment,
    program: Program,
    settings: &[(&str, &str)],
) -> anyhow::Result<Service> {
    let listen = format!("127.0.0.1:{}", free_port()?);
    let settings: Vec<_> = settings.iter().copied().chain([("METRICS_LISTEN", listen.as_str())]).collect();
    environment.start_ready(program, &settings).await
}

async fn scrape(service: &Service) -> anyhow::Result<Metrics> {
    Metrics::scrape(&service.metrics_url().unwrap_or_default()).await
}

/// Returns the type and the labels of each metric in the table of the documentation.
pub(crate) fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md")).unwrap();
    let (_, section) = page.split_once("| name | type | labels | meaning | action |").unwrap();
    let rows = section.lines().skip(2).take_while(|line| line.starts_with('|'));
    let codes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = codes(cells[3]).into_iter().collect();
        (codes(cells[1])[0].clone(), (cells[2].to_owned(), labels))
    })
    .collect()
}

#[tokio::test]
async fn documentation_lists_exactly_the_metrics_with_their_labels() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let probes = [("PROBE_INTERVAL_SECONDS", "1")];
    let web_store = start(&environment, Program::WebStore, &probes).await?;
    let transformer = start(&environment, Program::Transformer, &[]).await?;
    let marketing = start(&environment, Program::Marketing, &[]).await?;
    let console_metrics = format!("127.0.0.1:{}", free_port()?);
    let _console = environment.start_console(&[("METRICS_LISTEN", &console_metrics)])?;

    // One of everything: a registration, a change, an invalid form, and a dead letter.
    let response = post_form(&web_store, "Ann Example").await?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let link = format!("{}{}", web_store.url(), response.headers()[header::LOCATION].to_str()?);
    let client = http_client()?;
    let changed = client.post(&link).json(&json!({"name": "Berta Example"})).send().await?;
    assert_eq!(changed.status(), StatusCode::OK);
    let invalid =
        client.post(format!("{}/customers", web_store.url())).json(&json!({"name": ""})).send().await?;
    assert_eq!(invalid.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let (_connection, channel) = open_channel(&environment).await?;
    let (exchange, key) = (CreateCustomer::EXCHANGE, CreateCustomer::TYPE);
    publish(&channel, exchange, key, properties(key), b"{}").await?;
    let lost = register(&web_store, "Cleo Example").await?;
    let rows = "SELECT count(*) FROM customers WHERE customer_id = ?";
    eventually(SOON, "the row of a customer", async || {
        let database = environment.marketing_database();
        let row = sqlx::query_scalar::<_, i64>(rows).bind(&lost).fetch_one(&database);
        (row.await.ok()? == 1).then_some(())
    })
    .await?;
    let delete = sqlx::query("DELETE FROM customers WHERE customer_id = ?");
    delete.bind(&lost).execute(&environment.marketing_database()).await?;

    let documented = documented();
    let console = format!("http://{console_metrics}/metrics");
    let found = eventually(Duration::from_mins(2), "all documented metrics with all labels", async || {
        let processes = [
            scrape(&web_store).await.ok()?,
            scrape(&transformer).await.ok()?,
            scrape(&marketing).await.ok()?,
            Metrics::scrape(&console).await.ok()?,
        ];
        let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        for metrics in &processes {
            for (name, kind) in &metrics.types {
                let suffix = match kind.as_str() {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let samples = metrics.samples.iter().filter(|sample| sample.name.starts_with(name.as_str()));
                let labels = samples.flat_map(|sample| sample.labels.keys()).filter(|label| *label != "le");
                let (_, all) =
                    found.entry(format!("{name}{suffix}")).or_insert((kind.clone(), BTreeSet::new()));
                all.extend(labels.cloned());
            }
        }
        // `error_type` of published messages needs a refusal, which another test shows.
        let sent = found.get_mut("messaging_client_sent_messages_total")?;
        sent.1.insert("error_type".to_owned());
        (found.len() >= documented.len() && found == documented)
            .then_some(found.clone())
            .or_else(|| (found.keys().any(|name| !documented.contains_key(name))).then_some(found))
    })
    .await?;
    assert_eq!(found, documented);

    for url in [web_store.metrics_url(), transformer.metrics_url(), marketing.metrics_url(), Some(console)] {
        let text = client.get(url.unwrap_or_default()).send().await?.text().await?;
        for personal in ["Example", "example.org"] {
            assert!(!text.contains(personal), "{personal} in:\n{text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn counters_equal_the_tables() -> anyhow::Result<()> {
    const CUSTOMERS: usize = 5000;
    let environment = TestEnvironment::new().await?;
    let web_store = start(&environment, Program::WebStore, &[]).await?;
    let transformer = start(&environment, Program::Transformer, NO_REPLAY).await?;
    let marketing = start(&environment, Program::Marketing, NO_REPLAY).await?;
    let ids = register_many(&web_store, CUSTOMERS).await?;
    wait_for_marketing_rows(&environment, &ids, Duration::from_mins(2)).await?;
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM customers")
        .fetch_one(&environment.web_store_database())
        .await?;
    assert_eq!(usize::try_from(rows)?, CUSTOMERS);

    let queue = [("messaging_destination_name", MARKETING_CREATE_CUSTOMER.name)];
    let first = [queue[0], ("delivery", "first")];
    // The last batch is acked after its rows are visible.
    let marketing = eventually(SOON, "all commands are settled", async || {
        let metrics = scrape(&marketing).await.ok()?;
        (metrics.sum("messaging_client_consumed_messages_total", &queue) >= 5000.0).then_some(metrics)
    })
    .await?;
    let web_store = scrape(&web_store).await?;
    let transformer = scrape(&transformer).await?;
    let source = [("messaging_destination_name", TRANSFORMER_CUSTOMER_REGISTERED.name)];
    let events = [("messaging_destination_name", TRANSFORMER_CUSTOMER_REGISTERED.exchange)];
    let commands = [("messaging_destination_name", CreateCustomer::EXCHANGE)];
    for (counter, value) in [
        ("registered", web_store.sum("registrations_total", &[("outcome", "registered")])),
        ("events sent", web_store.sum("messaging_client_sent_messages_total", &events)),
        ("events consumed", transformer.sum("messaging_client_consumed_messages_total", &source)),
        ("commands sent", transformer.sum("messaging_client_sent_messages_total", &commands)),
        ("commands consumed", marketing.sum("messaging_client_consumed_messages_total", &queue)),
        ("critical times", marketing.sum("flow_critical_time_seconds_count", &first)),
    ] {
        assert!((value - 5000.0).abs() < 0.5, "{counter}: {value}");
    }
    assert!(web_store.sum("outbox_messages", &[]).abs() < 0.5);

    // A row has the time of its registration, and the time of the statement that wrote it.
    let select =
        "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, customer_since, received_at) AS DOUBLE) / 1e6 AS seconds
        FROM customers ORDER BY seconds LIMIT 1 OFFSET 4949";
    let row: f64 = sqlx::query_scalar(select).fetch_one(&environment.marketing_database()).await?;
    let mut bounds: Vec<f64> = marketing
        .samples
        .iter()
        .filter(|sample| sample.name == "flow_critical_time_seconds_bucket")
        .filter_map(|sample| sample.labels.get("le")?.parse().ok())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let bucket = |seconds: f64| bounds.iter().position(|bound| seconds <= *bound);
    let upper = marketing.quantile_bucket("flow_critical_time_seconds", &first, 0.99);
    let (of_rows, of_histogram) = (bucket(row).unwrap_or(0), upper.and_then(bucket).unwrap_or(usize::MAX));
    assert!(of_rows.abs_diff(of_histogram) <= 1, "p99 of the rows: {row} s, of the histogram: {upper:?} s");
    Ok(())
}

#[tokio::test]
async fn replayed_customers_do_not_count_as_late() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = start(&environment, Program::WebStore, &[]).await?;
    let ids = register_many(&web_store, 10).await?;
    let _transformer = start(&environment, Program::Transformer, &[]).await?;
    let marketing = start(&environment, Program::Marketing, &[]).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    let output = system_tests::programs::republish(&environment, &[], &ids.join("\n")).await?;
    assert_eq!(output.status, 0);
    let queue = ("messaging_destination_name", MARKETING_CREATE_CUSTOMER.name);
    let count = async |delivery| -> Option<f64> {
        let metrics = scrape(&marketing).await.ok()?;
        Some(metrics.sum("flow_critical_time_seconds_count", &[queue, ("delivery", delivery)]))
    };
    // The services' own replay of the new queue may have added copies.
    eventually(SOON, "ten replayed customers", async || (count("replay").await? >= 10.0).then_some(()))
        .await?;
    // An event that found no queue is sent again later than its copy.
    eventually(SOON, "ten first deliveries", async || (count("first").await? >= 10.0).then_some(())).await?;
    let first = count("first").await.unwrap_or_default();
    assert!((first - 10.0).abs() < 0.5, "{first}");
    Ok(())
}

#[tokio::test]
async fn refused_event_and_its_age_are_visible() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = start(&environment, Program::WebStore, &[]).await?;
    register(&web_store, "Ann").await?;
    let returned = [("error_type", "returned")];
    eventually(SOON, "a returned event that waits in the outbox", async || {
        let metrics = scrape(&web_store).await.ok()?;
        let parked = metrics.sum("outbox_messages", &[("state", "parked")]);
        let age = metrics.sum("outbox_oldest_age_seconds", &[]);
        let refused = metrics.sum("messaging_client_sent_messages_total", &returned);
        (refused >= 1.0 && (parked - 1.0).abs() < 0.5 && age > 0.0).then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn probe_reports_missing_binding_without_traffic() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    // The default interval, and not the one of other tests.
    let _web_store = start(&environment, Program::WebStore, &[("PROBE_INTERVAL_SECONDS", "10")]).await?;
    let _transformer = start(&environment, Program::Transformer, &[]).await?;
    let marketing = start(&environment, Program::Marketing, &[]).await?;
    let queue = [("messaging_destination_name", MARKETING_CREATE_CUSTOMER.name)];
    let probes =
        async || Some(scrape(&marketing).await.ok()?.sum("flow_probe_latency_seconds_count", &queue));
    eventually(SOON, "the first probe", async || (probes().await? >= 1.0).then_some(())).await?;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM customers")
        .fetch_one(&environment.marketing_database())
        .await?;
    assert_eq!(rows, 0, "a probe leaves no row");

    let health = async || -> Option<Value> {
        let response =
            http_client().ok()?.get(format!("{}/health/ready", marketing.url())).send().await.ok()?;
        response.json().await.ok()
    };
    let Queue { name, exchange, .. } = MARKETING_CREATE_CUSTOMER;
    let (management, key) = (environment.management(), MARKETING_CREATE_CUSTOMER.binding_key());
    let health_during = eventually(PROBES_MISSED, "health reports the missing probes", async || {
        // Marketing binds its queue again.
        management.unbind(name, exchange, &key).await.ok()?;
        let health = health().await?;
        (health["parts"]["probes"] != "up").then_some(health)
    })
    .await?;
    let problem = health_during["parts"]["probes"].as_str().unwrap_or_default();
    assert!(problem.contains(MARKETING_CREATE_CUSTOMER.name), "{problem}");
    assert_eq!(health_during["status"], "ready");
    let age = scrape(&marketing).await?.sum("flow_probe_age_seconds", &queue);
    assert!(age > 25.0, "{age}");
    eventually(PROBES_MISSED, "probes arrive again", async || {
        (health().await?["parts"]["probes"] == "up").then_some(())
    })
    .await?;
    eventually(SOON, "a log line", async || environment.logs_contain("probes arrive again").then_some(()))
        .await
}

#[tokio::test]
async fn subscriber_of_an_event_receives_no_probe() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let management = environment.management();
    let (exchange, key) =
        (TRANSFORMER_CUSTOMER_REGISTERED.exchange, TRANSFORMER_CUSTOMER_REGISTERED.routing_key);
    let web_store = start(&environment, Program::WebStore, &[("PROBE_INTERVAL_SECONDS", "1")]).await?;
    management.declare_queue("loyalty", json!({"x-queue-type": "quorum"})).await?;
    management.bind("loyalty", exchange, key).await?;
    let _transformer = start(&environment, Program::Transformer, &[]).await?;
    let marketing = start(&environment, Program::Marketing, &[]).await?;
    let queue = [("messaging_destination_name", MARKETING_CREATE_CUSTOMER.name)];
    eventually(SOON, "three probes", async || {
        let metrics = scrape(&marketing).await.ok()?;
        (metrics.sum("flow_probe_latency_seconds_count", &queue) >= 3.0).then_some(())
    })
    .await?;
    register(&web_store, "Ann").await?;
    management.wait_for_depth("loyalty", 1).await?;
    assert_eq!(management.take("loyalty", 2).await?.len(), 1);
    Ok(())
}
