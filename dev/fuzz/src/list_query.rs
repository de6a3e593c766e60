//! The query of Marketing's list.
//!
//! The input is a query, or the text of a search if it is not a query.
//!
//! - A search has a limit, and the links of the page lead to the same search.
//! - A position in the list has a text that leads to the same position, within the times that MySQL can store.

use axum::{extract::Query, http::Uri};
use marketing::{Cursor, ListQuery, PageStart};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Microseconds from 1970 to the first and to the last time of a MySQL `DATETIME`, in the years 1000 and 9999.
const TIMES: std::ops::RangeInclusive<i64> = -30_610_224_000_000_000..=253_402_300_799_999_999;

pub(crate) fn check(input: &[u8]) {
    let query = str::from_utf8(input).ok().and_then(parse);
    let query = query.or_else(|| parse(&format!("q={}", percent_encode(input, NON_ALPHANUMERIC))));
    let Some(query) = query else { return };
    let search = query.search();
    assert!(search.chars().count() <= 254, "{search:?}");
    let link = query.newest();
    let linked = parse(link.strip_prefix("/customers").unwrap_or(&link).trim_start_matches('?'));
    assert_eq!(linked.expect("a link has a query").search(), search);
    if let PageStart::After(cursor) | PageStart::Before(cursor) = query.start() {
        let text = cursor.to_string();
        assert_eq!(Cursor::parse(&text).as_ref(), Some(&cursor));
        let time = text.split('-').next().and_then(|micros| micros.parse().ok());
        assert!(time.is_some_and(|time| TIMES.contains(&time)), "{text}");
    }
}

fn parse(query: &str) -> Option<ListQuery> {
    let uri: Uri = format!("/customers?{query}").parse().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(query)| query)
}
