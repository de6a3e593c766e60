//! The queries for a page of the list. The time of each query does not depend on the number of rows.

use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder};

use super::{Counts, Page, PageStart, Row};
use crate::customer::FORGOTTEN_VERSION;

const COLUMNS: &str =
    "customer_id, full_name, email_address, email_opt_in, source, customer_since, received_at";

/// Each search index and its column.
const INDEXES: [(&str, &str); 3] =
    [("by_name", "full_name"), ("by_last_word", "last_word"), ("by_email", "email_address")];

/// Rows that a search scans for each row of a page before it uses the indexes.
const SCANNED_ROWS: usize = 40;

/// Returns a page with up to `limit` rows.
///
/// A search first scans the next rows in the order of the list. A frequent prefix fills the page from them. A
/// prefix that does not is rare enough for the indexes, whose matches MySQL must sort.
pub(super) async fn page(
    connection: &mut MySqlConnection,
    search: &str,
    start: &PageStart,
    limit: usize,
) -> sqlx::Result<Page> {
    // One row more shows whether another page follows.
    let query = Query { start, limit: limit + 1 };
    if search.is_empty() {
        return Ok(into_page(query.run(query.all(), connection).await?, start, limit));
    }
    let pattern = pattern(search);
    let rows = query.run(query.scan(&pattern), connection).await?;
    if rows.len() > limit {
        return Ok(into_page(rows, start, limit));
    }
    let segments = segments(connection).await?;
    let rows = query.run(query.by_indexes(&pattern, &segments), connection).await?;
    Ok(into_page(rows, start, limit))
}

/// Counts the customers without the forgotten ones.
///
/// The rows of forgotten customers are counted through the index of the addresses, because only they have an empty
/// address. A condition on all rows would read them all, instead of an index.
pub(super) async fn count(connection: &mut MySqlConnection) -> sqlx::Result<Counts> {
    let segments = segments(connection).await?;
    let select = format!(
        "SELECT CAST(COUNT(*) AS SIGNED) - (
                SELECT COUNT(*) FROM customers FORCE INDEX (by_email)
                WHERE search_segment IN ({segments}) AND email_address = ''
            ), CAST(COALESCE(SUM(email_opt_in), 0) AS SIGNED)
        FROM customers"
    );
    // The number of segments grows, so a prepared statement would not stay the same.
    let counts = sqlx::query_as(AssertSqlSafe(select)).persistent(false).fetch_one(connection).await?;
    let (customers, opted_in): (i64, i64) = counts;
    Ok(Counts { customers: customers.unsigned_abs(), opted_in: opted_in.unsigned_abs() })
}

/// Returns the numbers of all segments of the search indexes, separated by commas.
async fn segments(connection: &mut MySqlConnection) -> sqlx::Result<String> {
    let newest: Option<u32> =
        sqlx::query_scalar("SELECT MAX(search_segment) FROM customers").fetch_one(connection).await?;
    let segments: Vec<_> = (0..=newest.unwrap_or(0)).map(|segment| segment.to_string()).collect();
    Ok(segments.join(","))
}

struct Query<'a> {
    start: &'a PageStart,
    limit: usize,
}

impl Query<'_> {
    async fn run(
        &self,
        mut select: QueryBuilder<MySql>,
        connection: &mut MySqlConnection,
    ) -> sqlx::Result<Vec<Row>> {
        select.build_query_as().fetch_all(connection).await
    }

    fn all(&self) -> QueryBuilder<MySql> {
        let mut select = QueryBuilder::new(format!(
            "SELECT {COLUMNS} FROM customers WHERE version <> {FORGOTTEN_VERSION}"
        ));
        self.beyond_start(&mut select, self.limit);
        select
    }

    // A search needs no condition for forgotten customers: no beginning matches an empty text.
    fn scan(&self, pattern: &str) -> QueryBuilder<MySql> {
        let mut select = QueryBuilder::new(format!(
            "SELECT {COLUMNS} FROM (SELECT {COLUMNS}, last_word FROM customers WHERE TRUE"
        ));
        self.beyond_start(&mut select, self.limit * SCANNED_ROWS);
        select.push(") AS next_rows WHERE FALSE");
        for (_, column) in INDEXES {
            select.push(" OR ");
            begins_with(&mut select, column, pattern);
        }
        self.order(&mut select, self.limit);
        select
    }

    fn by_indexes(&self, pattern: &str, segments: &str) -> QueryBuilder<MySql> {
        let columns = COLUMNS.replace("received_at", "customers.received_at");
        let mut select = QueryBuilder::new(format!("SELECT {columns} FROM customers JOIN ("));
        for (n, (index, column)) in INDEXES.into_iter().enumerate() {
            select.push(if n > 0 { " UNION (" } else { "(" }).push(format!(
                "SELECT customer_id, received_at FROM customers FORCE INDEX ({index})
                WHERE search_segment IN ({segments}) AND "
            ));
            begins_with(&mut select, column, pattern);
            self.beyond_start(&mut select, self.limit);
            select.push(")");
        }
        select.push(") AS found USING (customer_id)");
        self.order(&mut select, self.limit);
        select
    }

    /// Adds the condition for rows beyond the start. MySQL does not use an index range for a comparison of
    /// pairs, so the condition compares each column.
    fn beyond_start(&self, select: &mut QueryBuilder<MySql>, limit: usize) {
        let (cursor, sign) = match self.start {
            PageStart::First => return self.order(select, limit),
            PageStart::After(cursor) => (cursor, "<"),
            PageStart::Before(cursor) => (cursor, ">"),
        };
        select.push(format!(" AND received_at {sign}= ")).push_bind(cursor.received_at);
        select.push(format!(" AND (received_at {sign} ")).push_bind(cursor.received_at);
        select.push(format!(" OR customer_id {sign} ")).push_bind(&cursor.customer_id).push(")");
        self.order(select, limit);
    }

    fn order(&self, select: &mut QueryBuilder<MySql>, limit: usize) {
        let direction = if matches!(self.start, PageStart::Before(_)) { "ASC" } else { "DESC" };
        select.push(format!(" ORDER BY received_at {direction}, customer_id {direction} LIMIT {limit}"));
    }
}

fn into_page(mut rows: Vec<Row>, start: &PageStart, limit: usize) -> Page {
    let more = rows.len() > limit;
    rows.truncate(limit);
    if matches!(start, PageStart::Before(_)) {
        rows.reverse();
    }
    Page { rows, more }
}

fn begins_with(select: &mut QueryBuilder<MySql>, column: &str, pattern: &str) {
    select.push(format!("{column} LIKE ")).push_bind(pattern.to_owned()).push(" ESCAPE '|'");
}

/// Returns the LIKE pattern of a prefix, with all wildcards escaped.
fn pattern(search: &str) -> String {
    format!("{}%", search.replace('|', "||").replace('%', "|%").replace('_', "|_"))
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn search_has_no_wildcards() {
        assert_eq!(pattern("50%_|\\"), "50|%|_||\\%");
    }
}
