//! Two sites: each application has its own broker, and only the transformer and the console connect to both.

use contracts::topology::{
    MARKETING_COMMANDS, MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED, WEB_STORE_COMMANDS,
    WEB_STORE_ERASURES,
};
use faults::proxy::{Protocol, Proxy};
use lapin::{
    BasicProperties, Connection, ConnectionProperties, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Executor;
use stack::{
    ports::{BrokerPorts, free_port},
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish as publish_event},
    customers::{http_client, register, register_many, wait_for_marketing_rows, wait_for_outbox_depth},
    eventually,
    metrics::Metrics,
    operator::Operator,
    programs::{console_command, reconcile, run, stop},
};

/// The services of two sites, and the link from the transformer to Marketing's broker.
struct Sites {
    web_store: Service,
    transformer: Service,
    marketing: Service,
    link: Proxy,
}

impl Sites {
    async fn start(environment: &TestEnvironment, of_web_store: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut urls = environment.connection_urls().clone();
        let link = Proxy::to(urls.ports.broker_of_marketing().amqp, Protocol::Amqp).await?;
        urls.ports.marketing_broker = Some(BrokerPorts { amqp: link.port(), management: 0 });
        let target = urls.marketing_broker_url("transformer");
        let of_transformer = [("TRANSFORMER_TARGET_BROKER_URL", target.as_str())];
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let of_marketing = [("METRICS_LISTEN", metrics.as_str())];
        Ok(Self {
            web_store: environment.start_ready(Program::WebStore, of_web_store).await?,
            transformer: environment.start_ready(Program::Transformer, &of_transformer).await?,
            marketing: environment.start_ready(Program::Marketing, &of_marketing).await?,
            link,
        })
    }
}

#[tokio::test]
async fn sites_continue_while_link_is_cut_and_then_catch_up() -> anyhow::Result<()> {
    let environment = TestEnvironment::with_sites().await?;
    let Sites { web_store, transformer, marketing, link } = Sites::start(&environment, &[]).await?;
    let mut ids = register_many(&web_store, 5).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    stop(marketing).await?;
    for n in 0..3 {
        ids.push(register(&web_store, &format!("Before the cut {n}")).await?);
    }
    let commands = MARKETING_CREATE_CUSTOMER.name;
    environment.marketing_management().wait_for_depth(commands, 3).await?;
    let report = reconciliation(&environment).await?;
    assert_eq!((&report["arrived"], &report["on_the_way"][commands]), (&json!(5), &json!(3)), "{report:#}");

    link.cut();
    let (client, health) = (http_client()?, format!("{}/health/ready", transformer.url()));
    eventually(SOON, "the transformer reports the lost broker", async || {
        let status = client.get(&health).send().await.ok()?.status();
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await?;
    let _marketing = environment.start_ready(Program::Marketing, &[]).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    for n in 0..5 {
        ids.push(register(&web_store, &format!("While cut {n}")).await?);
    }
    wait_for_outbox_depth(&environment, 0, SOON).await?;
    environment.management().wait_for_depth(TRANSFORMER_CUSTOMER_REGISTERED.name, 5).await?;

    link.restore();
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    assert_eq!(reconciliation(&environment).await?["arrived"], json!(ids.len()));
    Ok(())
}

/// Returns the report of `console reconcile`, which must find no difference.
async fn reconciliation(environment: &TestEnvironment) -> anyhow::Result<Value> {
    let output = reconcile(environment, &["--json", "--patience", "0"]).await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

#[tokio::test]
async fn probes_replays_and_erasures_cross_the_link() -> anyhow::Result<()> {
    let environment = TestEnvironment::with_sites().await?;
    let probes = [("PROBE_INTERVAL_SECONDS", "1")];
    let Sites { web_store, marketing, link: _link, transformer: _transformer } =
        Sites::start(&environment, &probes).await?;
    let metrics = marketing.metrics_url().unwrap_or_default();
    let queue = ("messaging_destination_name", MARKETING_CREATE_CUSTOMER.name);
    eventually(SOON, "a probe arrives in Marketing", async || {
        let probes = Metrics::scrape(&metrics).await.ok()?.sum("flow_probe_latency_seconds_count", &[queue]);
        (probes >= 1.0).then_some(())
    })
    .await?;

    let ids = register_many(&web_store, 2).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    environment.marketing_database().execute("DELETE FROM customers").await?;
    // Marketing asks for the commands before its new queue. The request crosses the link to the Web Store.
    environment.marketing_management().delete_queue(MARKETING_CREATE_CUSTOMER.name).await?;
    wait_for_marketing_rows(&environment, &ids, SOON).await?;

    let mut erase = console_command(&environment)?;
    erase.args(["erase", "--customer", &ids[0], "--why", "request 4711", "--yes"]);
    let output = run(erase, "").await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let select = sqlx::query_scalar("SELECT full_name FROM customers WHERE customer_id = ?").bind(&ids[0]);
    let name: String = select.fetch_one(&environment.marketing_database()).await?;
    assert_eq!(name, "");
    Ok(())
}

#[tokio::test]
async fn operators_act_at_one_site_while_other_is_unreachable() -> anyhow::Result<()> {
    let environment = TestEnvironment::with_sites().await?;
    let _services = Sites::start(&environment, &[]).await?;
    let (_connection, channel) = open_channel(&environment).await?;
    let queue = TRANSFORMER_CUSTOMER_REGISTERED;
    publish_event(&channel, queue.exchange, queue.routing_key, properties(queue.routing_key), b"bad").await?;
    environment.management().wait_for_depth(&queue.dead_letter_queue(), 1).await?;
    let mut urls = environment.connection_urls().clone();
    urls.ports.marketing_broker = Some(BrokerPorts { amqp: free_port()?, management: 0 });
    let unreachable = urls.marketing_broker_url("console");

    let console = environment.start_console_page(&[("TARGET_BROKER_URL", unreachable.as_str())]).await?;
    let operator = Operator::log_in_to_console(&console, "tester").await?;
    eventually(SOON, "the page shows the letter and the unreachable broker", async || {
        let page = operator.get("/").await.ok()?.text().await.ok()?;
        let texts = ["Marketing’s broker cannot be read.", "1 dead letter", "there may be more."];
        texts.iter().all(|text| page.replace('\u{a0}', " ").contains(text)).then_some(())
    })
    .await?;
    let page = operator.get("/subscriptions").await?.text().await?;
    assert!(page.contains(queue.name) && page.contains("Other subscriptions are not shown"), "{page}");

    let at_one_site = async |arguments: &[&str]| {
        let mut command = console_command(&environment)?;
        command.env("TARGET_BROKER_URL", &unreachable).args(arguments);
        run(command, "").await
    };
    for list in [&["dead-letters", "list"][..], &["subscriptions"]] {
        let output = at_one_site(list).await?;
        assert_eq!(output.status, 2, "{output:?}");
        assert!(output.stdout.contains(queue.name) && !output.stdout.contains("marketing."), "{output:?}");
        assert!(output.stderr.contains("cannot be read"), "{output:?}");
    }
    for change in [
        &["dead-letters", "discard", "--all", "--queue", queue.name, "--why", "a test"][..],
        &["subscriptions", "pause", queue.name, "--why", "a test"],
    ] {
        let output = at_one_site(change).await?;
        assert_eq!(output.status, 0, "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn site_refuses_users_and_messages_of_the_other() -> anyhow::Result<()> {
    let environment = TestEnvironment::with_sites().await?;
    let urls = environment.connection_urls();
    let at_web_store = |user: &str| urls.broker_url(user);
    let at_marketing = |user: &str| urls.marketing_broker_url(user);
    for stranger in [at_web_store("marketing"), at_marketing("web-store")] {
        assert!(connect(&stranger).await.is_err(), "connected to {stranger}");
    }
    let exchanges = [WEB_STORE_COMMANDS, WEB_STORE_ERASURES, MARKETING_COMMANDS];
    for exchange in exchanges {
        declare_exchange(&at_web_store("admin"), exchange).await?;
        declare_exchange(&at_marketing("admin"), exchange).await?;
    }
    for (url, allowed) in [
        (at_web_store("transformer"), &[WEB_STORE_COMMANDS][..]),
        (at_web_store("console"), &[WEB_STORE_COMMANDS, WEB_STORE_ERASURES]),
        (at_marketing("transformer"), &[MARKETING_COMMANDS]),
        (at_marketing("console"), &[]),
    ] {
        for exchange in exchanges {
            let published = publish(&url, exchange).await;
            assert_eq!(published.is_ok(), allowed.contains(&exchange), "{url} to {exchange}: {published:?}");
        }
    }
    Ok(())
}

async fn connect(url: &str) -> lapin::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await
}

async fn declare_exchange(url: &str, exchange: &str) -> lapin::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await
}

/// Publishes a message, and waits for the confirm.
async fn publish(url: &str, exchange: &str) -> lapin::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), "key".into(), options, b"{}", properties).await?;
    confirm.await.map(drop)
}
