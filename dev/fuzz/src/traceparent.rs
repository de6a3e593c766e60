//! The header `traceparent` of requests and messages.
//!
//! A valid one is continued: the next step has the same trace and the same decision to sample. After an invalid one, a
//! new trace starts that is not sampled.

use telemetry::{create_span, is_sampled, trace_id};

pub(crate) fn check(input: &[u8]) {
    let Ok(received) = str::from_utf8(input) else { return };
    let next = create_span(Some(received), "web-store.events");
    let next_trace = trace_id(&next);
    assert!(next_trace.is_some(), "{next}");
    match trace_id(received) {
        Some(trace) => assert_eq!(next_trace, Some(trace)),
        None => assert!(!is_sampled(received)),
    }
    assert_eq!(is_sampled(&next), is_sampled(received), "{next}");
}
