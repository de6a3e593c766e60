//! W3C Trace Context: one trace id for a whole flow, and a new parent id for each step.

/// Returns the `traceparent` of the next step.
///
/// It continues the trace of `received`. If `received` is missing or invalid, it starts a new trace.
/// <https://www.w3.org/TR/trace-context/#traceparent-header>
#[must_use]
pub fn child_traceparent(received: Option<&str>) -> String {
    let parent_id = rand::random_range(1..=u64::MAX);
    match received.and_then(trace_id_and_flags) {
        Some((trace_id, flags)) => format!("00-{trace_id}-{parent_id:016x}-{flags}"),
        None => format!("00-{:032x}-{parent_id:016x}-01", rand::random_range(1..=u128::MAX)),
    }
}

fn trace_id_and_flags(traceparent: &str) -> Option<(&str, &str)> {
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
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    valid.then_some((trace_id, flags))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{child_traceparent, trace_id_and_flags};

    #[test]
    fn next_step_keeps_trace_and_gets_new_parent_id() {
        let received = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let next = child_traceparent(Some(received));
        assert_eq!(trace_id_and_flags(&next), trace_id_and_flags(received));
        assert_ne!(next, received);
    }

    #[test]
    fn invalid_traceparent_starts_new_trace() {
        let zeros = format!("00-{:032x}-{:016x}-01", 0, 1);
        for received in ["", "00-xyz", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", &zeros] {
            let next = child_traceparent(Some(received));
            assert!(trace_id_and_flags(&next).is_some(), "{next}");
            assert_ne!(trace_id_and_flags(&next), trace_id_and_flags(received));
        }
    }
}
