//! A receiver of spans by OTLP over HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::span::SpanKind,
};
use prost::Message;
use tokio::{net::TcpListener, task::AbortHandle};

/// A span that was received.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// The service that sent the span.
    pub(crate) service: String,
    /// The name, such as `process marketing.create-customer`.
    pub(crate) name: String,
    /// The kind.
    pub(crate) kind: SpanKind,
    /// The trace and the span itself.
    pub(crate) context: Context,
    /// The id of the parent, or empty.
    pub(crate) parent: Vec<u8>,
    /// The linked spans.
    pub(crate) links: Vec<Context>,
    /// The attributes, as text.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The identity of a span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Context {
    /// The trace.
    pub(crate) trace: Vec<u8>,
    /// The span.
    pub(crate) span: Vec<u8>,
}

/// An HTTP server that keeps all spans that it receives. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct SpanReceiver {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    server: AbortHandle,
}

impl SpanReceiver {
    /// Starts the receiver on a free port.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let received = Arc::clone(&spans);
        let receive = move |body: Bytes| {
            let received = Arc::clone(&received);
            async move {
                let Ok(request) = ExportTraceServiceRequest::decode(body) else {
                    return StatusCode::BAD_REQUEST;
                };
                received.lock().unwrap_or_else(PoisonError::into_inner).extend(spans_of(request));
                StatusCode::OK
            }
        };
        let router = Router::new().route("/v1/traces", post(receive)).layer(DefaultBodyLimit::disable());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, spans, server: server.abort_handle() })
    }

    /// Returns the value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the spans that were received until now.
    #[must_use]
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received().clone()
    }

    fn received(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpanReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.into_iter().flat_map(|resource| {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text(attributes).remove("service.name").unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Span {
            service: service.clone(),
            kind: span.kind(),
            context: Context { trace: span.trace_id, span: span.span_id },
            parent: span.parent_span_id,
            links: span
                .links
                .into_iter()
                .map(|link| Context { trace: link.trace_id, span: link.span_id })
                .collect(),
            attributes: text(span.attributes),
            name: span.name,
        })
    })
}

fn text(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text(attribute.value.and_then(|value| value.value))))
        .collect()
}
