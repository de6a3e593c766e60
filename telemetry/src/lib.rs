#![doc = include_str!("../README.md")]

mod export;
mod spans;
mod traceparent;

pub use export::Traces;
pub use opentelemetry::KeyValue;
pub use spans::{
    BatchSpan, MessageSpan, Received, create_span, database_span, is_enabled, process_spans, publish_span,
    server_span,
};
pub use traceparent::{is_sampled, trace_id};
