//! Spans by OpenTelemetry's semantic conventions for HTTP, messaging, and databases.
//!
//! Without an exporter, no span is created, and a `traceparent` only continues its trace.

use std::{
    borrow::Cow,
    fmt::Display,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};

use crate::traceparent::{child, format, is_sampled, parse};

/// The conventions that the names of spans and attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Whether spans are exported.
static ENABLED: AtomicBool = AtomicBool::new(false);

static TRACER: LazyLock<BoxedTracer> = LazyLock::new(|| {
    let scope = InstrumentationScope::builder("customers").with_schema_url(SCHEMA_URL);
    global::tracer_with_scope(scope.with_version(env!("CARGO_PKG_VERSION")).build())
});

pub(crate) fn enable() {
    ENABLED.store(true, Ordering::Release);
}

/// Returns whether spans are exported. If not, callers need not collect the attributes of a span.
#[must_use]
pub fn is_enabled() -> bool {
    ENABLED.load(Ordering::Acquire)
}

/// A message of a batch: the `traceparent` of its creation, and its `message_id`.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// The creation context.
    pub traceparent: Option<&'a str>,
    /// The id of the message.
    pub message_id: Option<&'a dyn Display>,
}

/// A span that the customers of a batch share. It ends when it is dropped.
#[derive(Debug)]
pub struct BatchSpan(BoxedSpan);

/// The span of one message of a batch. It ends when it is dropped.
#[derive(Debug)]
pub struct MessageSpan(BoxedSpan);

/// Returns the `traceparent` for a new message to an exchange, and records its creation.
///
/// The message belongs to the trace of `parent`. Without a parent, it starts a trace.
#[must_use]
pub fn create_span(parent: Option<&str>, exchange: &'static str) -> String {
    let context = parent.and_then(parse);
    if !is_enabled() || context.as_ref().is_some_and(|context| !context.is_sampled()) {
        return child(parent);
    }
    let builder = messaging_span("create", "create", exchange, SpanKind::Producer, Vec::new());
    let mut span = start(builder, context);
    span.end();
    if span.span_context().is_valid() { format(span.span_context()) } else { child(parent) }
}

/// Starts the span of a request. Returns the span and the `traceparent` of the messages that the request causes.
///
/// `parent` is the caller's context if the caller may choose it. Another caller's context is only linked: otherwise a
/// stranger could have every request recorded, or join the traces of others.
#[must_use]
pub fn server_span(
    name: impl Into<Cow<'static, str>>,
    parent: Option<&str>,
    stranger: Option<&str>,
    attributes: Vec<KeyValue>,
) -> (Option<BatchSpan>, Option<String>) {
    let context = parent.and_then(parse);
    if !is_enabled() || context.as_ref().is_some_and(|context| !context.is_sampled()) {
        return (None, parent.map(str::to_owned));
    }
    let links = stranger.and_then(parse).map(|context| Link::new(context, Vec::new(), 0));
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Server)
        .with_links(links.into_iter().collect())
        .with_attributes(attributes);
    let span = start(builder, context);
    let traceparent = span.span_context().is_valid().then(|| format(span.span_context()));
    (Some(BatchSpan(span)), traceparent)
}

/// Starts the span of publishing messages. `None` if no message is sampled.
#[must_use]
pub fn publish_span<'a>(
    exchange: &'static str,
    routing_key: Option<&str>,
    messages: impl Iterator<Item = Received<'a>> + Clone,
) -> Option<BatchSpan> {
    let links = sampled_links(messages)?;
    let destination = routing_key.map_or(Cow::Borrowed(exchange), |key| format!("{exchange}:{key}").into());
    let builder = messaging_span("publish", "send", destination, SpanKind::Client, links);
    Some(BatchSpan(start(builder, None)))
}

/// Starts the spans of processing a batch: one for the batch, and one for each sampled message, in order. `None` if no
/// message is sampled.
#[must_use]
pub fn process_spans<'a>(
    queue: &'static str,
    messages: impl Iterator<Item = Received<'a>> + Clone,
) -> Option<(BatchSpan, Vec<Option<MessageSpan>>)> {
    let links = sampled_links(messages.clone())?;
    let batch = start(messaging_span("process", "process", queue, SpanKind::Consumer, links), None);
    let batch_context = batch.span_context().clone();
    let spans = messages.map(|message| {
        let context = message.traceparent.and_then(parse).filter(SpanContext::is_sampled)?;
        let link = Link::new(batch_context.clone(), Vec::new(), 0);
        let mut builder = messaging_span("process", "process", queue, SpanKind::Consumer, vec![link]);
        if let (Some(attributes), Some(id)) = (&mut builder.attributes, message.message_id) {
            attributes.push(KeyValue::new("messaging.message.id", id.to_string()));
        }
        Some(MessageSpan(start(builder, Some(context))))
    });
    let spans = spans.collect();
    Some((BatchSpan(batch), spans))
}

/// Starts the span of a statement, such as `INSERT customers`. Its parent is `parent`, or it is linked to the requests
/// that share it. `None` if none of them is sampled.
#[must_use]
pub fn database_span<'a>(
    system: &'static str,
    summary: &'static str,
    parent: Option<&str>,
    requests: impl Iterator<Item = Received<'a>> + Clone,
) -> Option<BatchSpan> {
    let parent = parent.filter(|parent| is_enabled() && is_sampled(parent)).and_then(parse);
    let links = if parent.is_some() { Vec::new() } else { sampled_links(requests)? };
    let (operation, table) = summary.split_once(' ').unwrap_or((summary, ""));
    let attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.query.summary", summary),
        KeyValue::new("db.operation.name", operation),
        KeyValue::new("db.collection.name", table),
    ];
    let builder = SpanBuilder::from_name(summary)
        .with_kind(SpanKind::Client)
        .with_links(links)
        .with_attributes(attributes);
    Some(BatchSpan(start(builder, parent)))
}

impl BatchSpan {
    /// Returns the context for the spans of the batch.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format(self.0.span_context())
    }

    /// Adds an attribute.
    pub fn set(&mut self, attribute: KeyValue) {
        self.0.set_attribute(attribute);
    }

    /// Marks the operation as failed, with a short name of the error.
    pub fn fail(&mut self, error_type: impl Into<Cow<'static, str>>) {
        fail(&mut self.0, error_type);
    }

    /// Starts the span of settling this batch with one ack.
    #[must_use]
    pub fn ack(&self, queue: &'static str) -> BatchSpan {
        let builder = messaging_span("ack", "settle", queue, SpanKind::Client, Vec::new());
        BatchSpan(start(builder, Some(self.0.span_context().clone())))
    }
}

impl MessageSpan {
    /// Returns the context for the messages that this one causes.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format(self.0.span_context())
    }

    /// Marks the processing as failed, with the code of the rejection.
    pub fn fail(&mut self, error_type: &'static str) {
        fail(&mut self.0, error_type);
    }
}

fn fail(span: &mut BoxedSpan, error_type: impl Into<Cow<'static, str>>) {
    span.set_attribute(KeyValue::new("error.type", error_type.into()));
    span.set_status(Status::error(""));
}

/// Returns a link to each creation, or `None` if spans are not exported or none of the messages is sampled.
fn sampled_links<'a>(messages: impl Iterator<Item = Received<'a>> + Clone) -> Option<Vec<Link>> {
    if !is_enabled() || !messages.clone().any(|message| message.traceparent.is_some_and(is_sampled)) {
        return None;
    }
    let link = |message: Received<'_>| {
        let id = message.message_id.map(|id| KeyValue::new("messaging.message.id", id.to_string()));
        Some(Link::new(message.traceparent.and_then(parse)?, id.into_iter().collect(), 0))
    };
    Some(messages.filter_map(link).collect())
}

fn messaging_span(
    operation: &'static str,
    operation_type: &'static str,
    destination: impl Into<Cow<'static, str>>,
    kind: SpanKind,
    links: Vec<Link>,
) -> SpanBuilder {
    let destination = destination.into();
    let name = format!("{operation} {destination}");
    let mut attributes = vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation_type),
        KeyValue::new("messaging.destination.name", destination),
    ];
    if links.len() > 1 {
        let count = i64::try_from(links.len()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("messaging.batch.message_count", count));
    }
    SpanBuilder::from_name(name).with_kind(kind).with_links(links).with_attributes(attributes)
}

fn start(builder: SpanBuilder, parent: Option<SpanContext>) -> BoxedSpan {
    let context = Context::new();
    let context = parent.map_or(context.clone(), |parent| context.with_remote_span_context(parent));
    TRACER.build_with_context(builder, &context)
}
