//! The traces: one for each customer, with real parents, and with links from the spans that customers share.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::header;
use sqlx::{Connection, Executor, PgConnection};
use stack::service::{Program, Service};
use system_tests::{
    NO_REPLAY, SOON, TestEnvironment,
    customers::{http_client, post_form, register_many, wait_for_marketing_rows},
    eventually,
};
use tokio::time::Duration;

use crate::span_receiver::{Context, Span, SpanReceiver};

const CUSTOMERS: usize = 1000;

/// The spans of one customer, each the parent of the next one.
const WAY: [(&str, SpanKind); 5] = [
    ("POST /customers", SpanKind::Server),
    ("create web-store.events", SpanKind::Producer),
    ("process transformer.customer-registered", SpanKind::Consumer),
    ("create marketing.commands", SpanKind::Producer),
    ("process marketing.create-customer", SpanKind::Consumer),
];

struct System {
    receiver: SpanReceiver,
    web_store: Service,
    services: Vec<Service>,
}

impl System {
    async fn start(
        environment: &TestEnvironment,
        sampler: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let receiver = SpanReceiver::start().await?;
        let endpoint = receiver.endpoint();
        let settings: Vec<_> = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100000"),
        ]
        .into_iter()
        .chain(settings.iter().copied())
        .chain(NO_REPLAY.iter().copied())
        .collect();
        let web_store = environment.start_ready(Program::WebStore, &settings).await?;
        let services = vec![
            environment.start_ready(Program::Transformer, &settings).await?,
            environment.start_ready(Program::Marketing, &settings).await?,
        ];
        Ok(Self { receiver, web_store, services })
    }

    /// Ends the services, which export their last spans then, and returns all spans.
    async fn end(mut self) -> anyhow::Result<Vec<Span>> {
        self.web_store.terminate(SOON).await?;
        for service in &mut self.services {
            service.terminate(SOON).await?;
        }
        Ok(self.receiver.spans())
    }
}

/// Returns the way of each customer: its spans in order, by the trace.
fn ways(spans: &[Span]) -> BTreeMap<Vec<u8>, Vec<&Span>> {
    let is_first = |span: &&Span| (span.name.as_str(), span.kind) == WAY[0];
    let mut by_parent: BTreeMap<_, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        by_parent.entry((&span.context.trace, &span.parent)).or_default().push(span);
    }
    let way = |first| {
        let mut way = vec![first];
        for (name, kind) in &WAY[1..] {
            let last: &Span = way[way.len() - 1];
            let children = by_parent.get(&(&last.context.trace, &last.context.span));
            let next = children.and_then(|all| all.iter().find(|s| s.name == *name && s.kind == *kind));
            way.extend(next);
        }
        way
    };
    spans.iter().filter(is_first).map(|first| (first.context.trace.clone(), way(first))).collect()
}

#[tokio::test]
async fn each_customer_has_one_trace_and_each_batch_links_its_messages() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = System::start(&environment, "parentbased_always_on", &[]).await?;
    let ids = register_many(&system.web_store, CUSTOMERS).await?;
    wait_for_marketing_rows(&environment, &ids, Duration::from_mins(1)).await?;
    let spans = system.end().await?;

    let ways = ways(&spans);
    assert_eq!(ways.len(), CUSTOMERS, "traces");
    for way in ways.values() {
        let names: Vec<_> = way.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, WAY.map(|(name, _)| name));
    }
    // The shared spans have no parent among the customers' spans, and together they link each customer exactly once.
    let created = |index: usize| ways.values().map(|way| way[index].context.clone()).collect::<BTreeSet<_>>();
    for (shared, kind, index) in [
        ("INSERT customers", SpanKind::Client, 0),
        ("publish web-store.events", SpanKind::Client, 1),
        ("process transformer.customer-registered", SpanKind::Consumer, 1),
        ("publish marketing.commands", SpanKind::Client, 3),
        ("process marketing.create-customer", SpanKind::Consumer, 3),
    ] {
        let roots =
            spans.iter().filter(|span| span.name == shared && span.kind == kind && span.parent.is_empty());
        let links: Vec<Context> = roots.flat_map(|span| span.links.clone()).collect();
        let distinct: BTreeSet<_> = links.iter().cloned().collect();
        assert_eq!((links.len(), distinct), (CUSTOMERS, created(index)), "{shared}");
    }
    // Each message is linked to its batch, whose statement and ack are its children.
    let by_span: BTreeMap<_, _> = spans.iter().map(|span| (&span.context.span, span)).collect();
    for way in ways.values() {
        for index in [2, 4] {
            let batch = by_span[&way[index].links[0].span];
            assert_eq!(batch.name, way[index].name);
            assert!(batch.links.contains(&way[index - 1].context));
        }
    }
    for child in ["ack transformer.customer-registered", "ack marketing.create-customer", "INSERT customers"]
    {
        let children = spans.iter().filter(|span| span.name == child && !span.parent.is_empty());
        let parents: BTreeSet<_> = children.map(|span| by_span[&span.parent].name.clone()).collect();
        assert_eq!(parents.len(), 1, "{child}: {parents:?}");
    }
    let registered = "SELECT name || '|' || email FROM customers";
    let registered: Vec<String> =
        sqlx::query_scalar(registered).fetch_all(&environment.web_store_database()).await?;
    let (text, log) = (format!("{spans:?}"), environment.log());
    for value in registered.iter().flat_map(|row| row.split('|')) {
        assert!(!text.contains(value), "{value} is in a span");
        assert!(!log.contains(value), "{value} is in the log");
    }
    let databases: BTreeSet<_> =
        spans.iter().filter_map(|span| span.attributes.get("db.system.name")).collect();
    assert!(databases.iter().any(|name| *name == "postgresql") && databases.len() == 2, "{databases:?}");
    Ok(())
}

#[tokio::test]
async fn context_of_a_stranger_is_linked_and_does_not_decide() -> anyhow::Result<()> {
    const STRANGER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let stranger = u128::from_str_radix(&STRANGER[3..35], 16)?.to_be_bytes().to_vec();
    let environment = TestEnvironment::new().await?;
    for (sampler, proxies, expected) in [
        ("parentbased_always_off", "", None),
        ("parentbased_always_on", "", Some(false)),
        ("parentbased_always_off", "127.0.0.1", Some(true)),
    ] {
        let system = System::start(&environment, sampler, &[("TRUSTED_PROXIES", proxies)]).await?;
        let request = http_client()?.post(format!("{}/customers", system.web_store.url()));
        let name = format!("Ann {sampler} {}", proxies.len());
        let email = format!("ann-{:016x}@example.org", rand::random::<u64>());
        let response =
            request.header("traceparent", STRANGER).form(&[("name", name), ("email", email)]).send().await?;
        assert!(response.headers().contains_key(header::LOCATION));
        let spans = system.end().await?;
        let server = spans.iter().find(|span| span.kind == SpanKind::Server);
        let joined = server.map(|span| span.context.trace == stranger);
        assert_eq!(joined, expected, "{sampler} {proxies}");
        if expected == Some(false) {
            let links: Vec<_> = server.iter().flat_map(|span| &span.links).map(|link| &link.trace).collect();
            assert_eq!(links, [&stranger]);
        }
    }
    Ok(())
}

/// A relay that is killed between a publish and the delete publishes the event again, as the same message.
#[tokio::test]
async fn killed_relay_shows_both_publishes() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let mut system = System::start(&environment, "parentbased_always_on", &[]).await?;
    let mut owner =
        PgConnection::connect(&environment.connection_urls().web_store_database_url("web_store_owner"))
            .await?;
    owner
        .execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(10); RETURN OLD; END';
            CREATE TRIGGER wait BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION wait();",
        )
        .await?;
    post_form(&system.web_store, "Ann").await?;
    let publishes = |receiver: &SpanReceiver| {
        let spans = receiver.spans().into_iter().filter(|span| span.name == "publish web-store.events");
        spans.flat_map(|span| span.links).collect::<Vec<_>>()
    };
    eventually(SOON, "the span of the first publish", async || {
        (publishes(&system.receiver).len() == 1).then_some(())
    })
    .await?;
    system.web_store.kill().await?;
    owner.execute("DROP TRIGGER wait ON outbox").await?;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", system.receiver.endpoint()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    system.web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let links = eventually(SOON, "the span of the second publish", async || {
        Some(publishes(&system.receiver)).filter(|links| links.len() == 2)
    })
    .await?;
    assert_eq!(links[0], links[1], "both publishes are those of one message");
    let spans = system.end().await?;
    let processed = spans.iter().filter(|span| span.name == WAY[2].0 && !span.parent.is_empty());
    assert_eq!(processed.filter(|span| span.context.trace == links[0].trace).count(), 2);
    Ok(())
}

#[tokio::test]
async fn nothing_is_exported_without_an_endpoint_or_a_sample() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let system = System::start(&environment, "always_off", &[]).await?;
    post_form(&system.web_store, "Ann").await?;
    eventually(SOON, "a row", async || {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM customers");
        (count.fetch_one(&environment.marketing_database()).await.ok()? == 1).then_some(())
    })
    .await?;
    assert_eq!(system.end().await?, Vec::new());
    Ok(())
}
