//! Numbers and times as the page shows them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use service_kit::group_digits;
pub(super) use service_kit::thousands;

/// Returns a duration in its two largest units, such as `2 m 10 s`. Durations below a second are `0 s`.
pub(super) fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    let largest = UNITS.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let parts = UNITS[largest..].iter().take(2).enumerate().filter_map(|(place, (length, unit))| {
        let count = if place == 0 { seconds / length } else { seconds % UNITS[largest].0 / length };
        (count > 0 || place == 0).then(|| format!("{count}\u{a0}{unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// Returns a rate per second, with one decimal if it is small.
pub(super) fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        return "0".to_owned();
    }
    if per_second < 9.95 {
        return format!("{per_second:.1}");
    }
    group_digits(&format!("{per_second:.0}"))
}

/// Returns a count for a computation with rates. Counts beyond 2⁵³ are rounded.
#[expect(clippy::cast_precision_loss, reason = "no count of messages or rows is that large")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Returns a number with its noun, such as `1 letter` or `2 letters`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{}\u{a0}{noun}{plural}", thousands(number))
}

/// Returns a time of today as `09:41:02`, and an earlier one as `28 Nov 09:41`.
pub(super) fn time(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let is_today = time.date_naive() == now.date_naive();
    time.format(if is_today { "%H:%M:%S" } else { "%-d %b %H:%M" }).to_string()
}

/// Returns the points of a line for a picture of 100 × 24, from old to new values.
pub(super) fn sparkline(values: &[f64]) -> String {
    let highest = values.iter().copied().fold(0.0, f64::max);
    let last = float(values.len().saturating_sub(1).max(1) as u64);
    let point = |(n, value): (usize, &f64)| {
        let height = if highest > 0.0 { value / highest } else { 0.0 };
        format!("{:.1},{:.1}", float(n as u64) * 100.0 / last, 23.0 - height * 22.0)
    };
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, duration, rate, sparkline};

    #[test]
    fn duration_has_two_largest_units() {
        let text = |seconds| duration(Duration::from_secs(seconds)).replace('\u{a0}', " ");
        assert_eq!(text(0), "0 s");
        assert_eq!(text(59), "59 s");
        assert_eq!(text(130), "2 m 10 s");
        assert_eq!(text(3600), "1 h");
        assert_eq!(text(3661), "1 h 1 m");
        assert_eq!(text(90_000), "1 d 1 h");
    }

    #[test]
    fn small_rate_has_a_decimal() {
        assert_eq!([rate(-0.0), rate(0.25), rate(186.6)], ["0", "0.2", "187"]);
        assert_eq!(
            (count(1, "letter"), count(2, "letter")),
            ("1\u{a0}letter".into(), "2\u{a0}letters".into())
        );
    }

    #[test]
    fn sparkline_spans_the_picture() {
        assert_eq!(sparkline(&[0.0, 2.0]), "0.0,23.0 100.0,1.0");
        assert_eq!(sparkline(&[0.0, 0.0]), "0.0,23.0 100.0,23.0");
    }
}
