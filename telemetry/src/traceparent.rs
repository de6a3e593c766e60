//! W3C Trace Context as text: <https://www.w3.org/TR/trace-context/#traceparent-header>.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The parts of a valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts<'a> {
    trace_id: &'a str,
    parent_id: &'a str,
    flags: &'a str,
}

/// Returns the trace id of a `traceparent`, or `None` if it is invalid.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    Some(parts(traceparent)?.trace_id)
}

/// Returns the `traceparent` of the next step without a span.
///
/// It continues the trace of `received`. If `received` is missing or invalid, it starts a trace that is not sampled.
pub(crate) fn child(received: Option<&str>) -> String {
    let parent_id = rand::random_range(1..=u64::MAX);
    match received.and_then(parts) {
        Some(Parts { trace_id, flags, .. }) => format!("00-{trace_id}-{parent_id:016x}-{flags}"),
        None => format!("00-{:032x}-{parent_id:016x}-00", rand::random_range(1..=u128::MAX)),
    }
}

/// Returns whether the trace of a `traceparent` is sampled. An invalid one is not.
#[must_use]
pub fn is_sampled(traceparent: &str) -> bool {
    parse(traceparent).is_some_and(|context| context.is_sampled())
}

pub(crate) fn parse(traceparent: &str) -> Option<SpanContext> {
    let Parts { trace_id, parent_id, flags } = parts(traceparent)?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace_id, parent_id) = (TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(parent_id).ok()?);
    let context = SpanContext::new(trace_id, parent_id, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

pub(crate) fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

fn parts(traceparent: &str) -> Option<Parts<'_>> {
    let mut parts = traceparent.split('-');
    let version = parts.next()?;
    let trace_id = parts.next()?;
    let parent_id = parts.next()?;
    let flags = parts.next()?;
    let valid = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace_id, 32)
        && trace_id.bytes().any(|b| b != b'0')
        && is_hex(parent_id, 16)
        && parent_id.bytes().any(|b| b != b'0')
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    valid.then_some(Parts { trace_id, parent_id, flags })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{child, format, is_sampled, parse, parts, trace_id};

    const RECEIVED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn next_step_keeps_trace_and_gets_new_parent_id() {
        let next = child(Some(RECEIVED));
        assert_eq!(trace_id(&next), trace_id(RECEIVED));
        assert!(is_sampled(&next));
        assert_ne!(next, RECEIVED);
    }

    #[test]
    fn invalid_traceparent_starts_new_trace_that_is_not_sampled() {
        let zero_trace = format!("00-{:032x}-{:016x}-01", 0, 1);
        let zero_parent = format!("00-{:032x}-{:016x}-01", 1, 0);
        let later_version = "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        for received in ["", "00-xyz", later_version, &zero_trace, &zero_parent] {
            let next = child(Some(received));
            assert!(parts(&next).is_some() && !is_sampled(&next), "{next}");
            assert_ne!(trace_id(&next), trace_id(received));
        }
    }

    #[test]
    fn context_of_text_has_the_same_text() {
        assert_eq!(format(&parse(RECEIVED).unwrap()), RECEIVED);
        assert!(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01").is_none());
    }
}
