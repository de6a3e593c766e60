//! The list as CSV (RFC 4180). The response is streamed, so its memory does not depend on its length.

use std::borrow::Cow;

use axum::{
    body::Body,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{NaiveDateTime, Utc};
use futures_util::stream;

use super::{App, LIST_READS, login::LoggedIn, query::QueryResult};
use crate::{
    list::{CustomerList, Page, PageStart, Row},
    mysql::MysqlError,
};

/// Rows per query.
const BATCH_ROWS: usize = 1000;

/// Without it, spreadsheet programs assume an old encoding of their country.
const BYTE_ORDER_MARK: &str = "\u{feff}";

const HEADER: [&str; 7] =
    ["customer_id", "full_name", "email_address", "email_opt_in", "source", "customer_since", "received_at"];

/// The characters with which a formula begins, including their full-width forms.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The separators of programs that do not separate by comma.
const OTHER_SEPARATORS: [char; 3] = [';', '\t', '|'];

/// The characters that programs skip before a formula.
const BEFORE_FORMULA: [char; 4] = [' ', '\u{a0}', '"', '\u{feff}'];

/// Exports all customers that match the search, newest first.
///
/// No database connection is held while the client reads. If the database fails meanwhile, the response ends
/// without the final chunk, and the client reports an incomplete download.
pub(super) async fn csv(
    _: LoggedIn,
    State(app): State<App>,
    query: QueryResult,
) -> Result<Response, MysqlError> {
    let search = query.map(|Query(query)| query.search().to_owned()).unwrap_or_default();
    let first = app.list.page(&search, &PageStart::First, BATCH_ROWS).await?;
    LIST_READS.succeeded();
    let head = format!("{BYTE_ORDER_MARK}\"{}\"\r\n", HEADER.join("\",\""));
    let head = stream::once(async { Ok(head.into_bytes()) });
    let disposition = Utc::now().format("attachment; filename=\"customers-%Y-%m-%d.csv\"").to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    let body = Body::from_stream(stream::StreamExt::chain(head, lines(app.list, search, first)));
    Ok((headers, body).into_response())
}

/// Returns the lines of all pages, one item per page.
fn lines(
    list: CustomerList,
    search: String,
    first: Page,
) -> impl stream::Stream<Item = anyhow::Result<Vec<u8>>> {
    let state = (list, search, Some(first));
    stream::try_unfold(state, async |(list, search, page)| {
        let Some(page) = page else { return Ok(None) };
        let text = to_csv(&page.rows)?;
        let end = page.rows.last().filter(|_| page.more).map(Row::cursor);
        let next = match end {
            Some(end) => {
                let next = list.page(&search, &PageStart::After(end), BATCH_ROWS).await;
                Some(next.inspect_err(|error| LIST_READS.failed(error))?)
            }
            None => None,
        };
        Ok(Some((text, (list, search, next))))
    })
}

fn to_csv(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    for row in rows {
        csv.write_record([
            row.customer_id.as_str(),
            &cell(&row.full_name),
            &cell(&row.email_address),
            if row.email_opt_in { "true" } else { "false" },
            &cell(&row.source),
            &time(row.customer_since),
            &time(row.received_at),
        ])?;
    }
    Ok(csv.into_inner()?)
}

/// Returns the text of a cell. Text that a spreadsheet program would run as a formula gets an apostrophe in
/// front, which these programs do not show.
///
/// Some programs separate by `;` or tab, and begin a new cell inside the text. Quotes do not prevent that,
/// because there the text does not begin with its quote. So the same applies after each of these separators.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn cell(text: &str) -> Cow<'_, str> {
    if !text.contains(FORMULA_STARTS) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 1);
    for part in text.split_inclusive(OTHER_SEPARATORS) {
        if part.trim_start_matches(BEFORE_FORMULA).starts_with(FORMULA_STARTS) {
            safe.push('\'');
        }
        safe.push_str(part);
    }
    safe.into()
}

fn time(utc: NaiveDateTime) -> String {
    utc.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", " =1", "\"=1\"", "\t=1"] {
            assert_eq!(cell(formula).chars().next(), Some('\''), "{formula}");
        }
        for (text, safe) in [
            ("Zoë;=1+1", "Zoë;'=1+1"),
            ("a;b;@SUM(A1)", "a;b;'@SUM(A1)"),
            ("a; \"=1\"", "a;' \"=1\""),
            ("=1;+1", "'=1;'+1"),
            ("a|-1", "a|'-1"),
        ] {
            assert_eq!(cell(text), safe);
        }
        for text in ["Zoë", "a=b", "1+1", "'x", "", "Ann-Marie; Bob", "zoe@example.org"] {
            assert_eq!(cell(text), text);
        }
    }
}
