//! The list as CSV (RFC 4180), streamed, so that its length costs no memory.

use axum::{
    body::Body,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{NaiveDateTime, Utc};
use futures_util::stream;

use super::{App, query::QueryResult, sessions::LoggedIn, unavailable};
use crate::list::{List, Page, Row, Start};

const ROWS: usize = 1000;

/// Spreadsheets take a file without it for their country's old encoding.
const BYTE_ORDER_MARK: &str = "\u{feff}";

const HEADER: [&str; 7] =
    ["customer_id", "full_name", "email_address", "email_opt_in", "source", "customer_since", "received_at"];

/// All that the search finds, newest first. No connection is held while the client reads. If the database
/// breaks off, so does the file, and the client is told by its missing end.
pub(super) async fn csv(_: LoggedIn, State(app): State<App>, query: QueryResult) -> Response {
    let search = query.map(|Query(query)| query.search().to_owned()).unwrap_or_default();
    let first = match app.list.page(&search, &Start::Newest, ROWS).await {
        Ok(page) => page,
        Err(error) => return unavailable(&error),
    };
    let head = format!("{BYTE_ORDER_MARK}{}\r\n", HEADER.join(","));
    let head = stream::once(async { Ok(head.into_bytes()) });
    let name = Utc::now().format("attachment; filename=\"customers-%Y-%m-%d.csv\"").to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    let body = Body::from_stream(stream::StreamExt::chain(head, pages(app.list, search, first)));
    (headers, body).into_response()
}

fn pages(list: List, search: String, first: Page) -> impl stream::Stream<Item = anyhow::Result<Vec<u8>>> {
    let start = (list, search, Some(first));
    stream::try_unfold(start, async |(list, search, page)| {
        let Some(page) = page else { return Ok(None) };
        let lines = lines(&page.rows)?;
        let end = page.rows.last().filter(|_| page.more).map(Row::place);
        let next = match end {
            Some(end) => Some(list.page(&search, &Start::Below(end), ROWS).await?),
            None => None,
        };
        Ok(Some((lines, (list, search, next))))
    })
}

fn lines(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        csv.write_record([
            row.customer_id.as_str(),
            &cell(&row.full_name),
            &cell(&row.email_address),
            if row.email_opt_in { "true" } else { "false" },
            &row.source,
            &time(row.customer_since),
            &time(row.received_at),
        ])?;
    }
    Ok(csv.into_inner()?)
}

/// What a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets do not show.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

fn time(utc: NaiveDateTime) -> String {
    utc.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"] {
            assert_eq!(cell(formula), format!("'{formula}"));
        }
        for text in ["Zoë", "a=b", "1+1", "'x", ""] {
            assert_eq!(cell(text), text);
        }
    }
}
