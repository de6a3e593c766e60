//! The export of spans by OTLP, which `OTEL_EXPORTER_OTLP_ENDPOINT` enables.

use std::{env, time::Duration};

use anyhow::Context as _;
use opentelemetry::{
    Context, KeyValue, global,
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, Span,
        SpanData, SpanExporter, SpanProcessor,
    },
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};

use crate::spans;

/// The part of the requests that is sampled without `OTEL_TRACES_SAMPLER`.
const DEFAULT_RATIO: f64 = 0.01;

/// More than the messages of a batch.
const MAX_LINKS: u32 = 512;

const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Time to export the last spans at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The exporter of spans. Spans that wait are exported when it is shut down.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts the export if an endpoint is set, and registers the counts of spans.
    ///
    /// # Errors
    /// Returns an error if the endpoint or the settings of the sampler are invalid.
    pub fn start(
        service: &'static str,
        version: &'static str,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let (ended, exported) = (Counter::default(), Counter::default());
        registry.register("traces_spans_ended", "Sampled spans that ended", ended.clone());
        registry.register(
            "traces_spans_exported",
            "Spans that the collector has taken; the difference is waiting or dropped",
            exported.clone(),
        );
        let is_set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(|name| is_set(name)) {
            return Ok(Self(None));
        }
        let otlp = OtlpExporter::builder().with_http().build().context("cannot export traces")?;
        let counting = CountingExporter { exporter: otlp, exported };
        let processor = CountingProcessor { processor: BatchSpanProcessor::builder(counting).build(), ended };
        let resource = Resource::builder()
            .with_service_name(env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| service.to_owned()))
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let mut builder = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource);
        if env::var_os("OTEL_SPAN_LINK_COUNT_LIMIT").is_none() {
            builder = builder.with_max_links_per_span(MAX_LINKS);
        }
        let provider = builder.with_sampler(SampleLinked(sampler()?)).build();
        global::set_tracer_provider(provider.clone());
        spans::enable();
        Ok(Self(Some(provider)))
    }

    /// Exports the spans that wait, and ends the export.
    pub fn shutdown(&self) {
        if let Some(provider) = &self.0 {
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        }
    }
}

/// Returns the sampler of the standard variables.
fn sampler() -> anyhow::Result<Sampler> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let ratio = match variable("OTEL_TRACES_SAMPLER_ARG") {
        Some(text) => text.parse().with_context(|| format!("OTEL_TRACES_SAMPLER_ARG={text} is no number"))?,
        None => DEFAULT_RATIO,
    };
    let parent_based = |root| Sampler::ParentBased(Box::new(root));
    let name = variable("OTEL_TRACES_SAMPLER");
    Ok(match name.as_deref() {
        None | Some("parentbased_traceidratio") => parent_based(Sampler::TraceIdRatioBased(ratio)),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("traceidratio") => Sampler::TraceIdRatioBased(ratio),
        Some("parentbased_always_on") => parent_based(Sampler::AlwaysOn),
        Some("parentbased_always_off") => parent_based(Sampler::AlwaysOff),
        Some(other) => anyhow::bail!(
            "OTEL_TRACES_SAMPLER={other} is unknown; use always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off, or parentbased_traceidratio"
        ),
    })
}

/// Samples a span without a parent if one of its links is sampled: a batch belongs to the traces of its messages.
#[derive(Debug, Clone)]
struct SampleLinked(Sampler);

impl ShouldSample for SampleLinked {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(TraceContextExt::has_active_span);
        // A stranger's context is linked to a request, and does not decide.
        let is_shared = *kind != SpanKind::Server && !has_parent;
        if is_shared && links.iter().any(|link| link.span_context.is_sampled()) {
            let (decision, trace_state) = (SamplingDecision::RecordAndSample, TraceState::NONE);
            return SamplingResult { decision, attributes: Vec::new(), trace_state };
        }
        self.0.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Counts the spans that end.
#[derive(Debug)]
struct CountingProcessor {
    processor: BatchSpanProcessor,
    ended: Counter,
}

impl SpanProcessor for CountingProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.ended.inc();
        self.processor.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts the spans that the collector has taken.
#[derive(Debug)]
struct CountingExporter {
    exporter: OtlpExporter,
    exported: Counter,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.exporter.export(batch).await?;
        self.exported.inc_by(spans);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
