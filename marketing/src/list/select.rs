//! The queries for a page of the list, each fast whatever the number of rows.

use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::{Page, Row, Start};

const COLUMNS: &str =
    "customer_id, full_name, email_address, email_opt_in, source, customer_since, received_at";

/// An index, and the column that it is for.
const INDEXES: [(&str, &str); 3] =
    [("by_name", "full_name"), ("by_last_word", "last_word"), ("by_email", "email_address")];

/// How many of the newest rows are looked through for each row of a page, before the indexes are asked.
const WINDOW: usize = 40;

/// A page, or as much of it as there is.
///
/// A search first looks through the newest rows: what is common fills the page from these. What does not is
/// rare enough for the indexes, which have to sort all that they find.
pub(super) async fn page(
    connection: &mut MySqlConnection,
    search: &str,
    start: &Start,
    rows: usize,
) -> sqlx::Result<Page> {
    let query = Query { start, limit: rows + 1 };
    if search.is_empty() {
        return Ok(query.run(query.all(), connection).await?.page(start, rows));
    }
    let pattern = pattern(search);
    let found = query.run(query.among_the_next(&pattern), connection).await?;
    if found.0.len() > rows {
        return Ok(found.page(start, rows));
    }
    let newest: Option<u32> =
        sqlx::query_scalar("SELECT MAX(search_segment) FROM customers").fetch_one(&mut *connection).await?;
    Ok(query.run(query.by_indexes(&pattern, newest.unwrap_or(0)), connection).await?.page(start, rows))
}

struct Query<'a> {
    start: &'a Start,
    limit: usize,
}

struct Found(Vec<Row>);

impl Query<'_> {
    async fn run(
        &self,
        mut select: QueryBuilder<MySql>,
        connection: &mut MySqlConnection,
    ) -> sqlx::Result<Found> {
        select.build_query_as().fetch_all(connection).await.map(Found)
    }

    fn all(&self) -> QueryBuilder<MySql> {
        let mut select = QueryBuilder::new(format!("SELECT {COLUMNS} FROM customers WHERE TRUE"));
        self.beyond_start(&mut select, self.limit);
        select
    }

    fn among_the_next(&self, pattern: &str) -> QueryBuilder<MySql> {
        let mut select = QueryBuilder::new(format!(
            "SELECT {COLUMNS} FROM (SELECT {COLUMNS}, last_word FROM customers WHERE TRUE"
        ));
        self.beyond_start(&mut select, self.limit * WINDOW);
        select.push(") AS next_rows WHERE FALSE");
        for (_, column) in INDEXES {
            select.push(" OR ");
            begins_with(&mut select, column, pattern);
        }
        self.ordered(&mut select, self.limit);
        select
    }

    fn by_indexes(&self, pattern: &str, newest_segment: u32) -> QueryBuilder<MySql> {
        let columns = COLUMNS.replace("received_at", "customers.received_at");
        let mut select = QueryBuilder::new(format!("SELECT {columns} FROM customers JOIN ("));
        let segments: Vec<_> = (0..=newest_segment).map(|segment| segment.to_string()).collect();
        let segments = segments.join(",");
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
        self.ordered(&mut select, self.limit);
        select
    }

    /// The condition is spelled out because MySQL finds no range in a comparison of pairs.
    fn beyond_start(&self, select: &mut QueryBuilder<MySql>, limit: usize) {
        let (place, sign) = match self.start {
            Start::Newest => return self.ordered(select, limit),
            Start::Below(place) => (place, "<"),
            Start::Above(place) => (place, ">"),
        };
        select.push(format!(" AND received_at {sign}= ")).push_bind(place.received_at);
        select.push(format!(" AND (received_at {sign} ")).push_bind(place.received_at);
        select.push(format!(" OR customer_id {sign} ")).push_bind(&place.customer_id).push(")");
        self.ordered(select, limit);
    }

    fn ordered(&self, select: &mut QueryBuilder<MySql>, limit: usize) {
        let direction = if matches!(self.start, Start::Above(_)) { "ASC" } else { "DESC" };
        select.push(format!(" ORDER BY received_at {direction}, customer_id {direction} LIMIT {limit}"));
    }
}

impl Found {
    fn page(self, start: &Start, rows: usize) -> Page {
        let Self(mut found) = self;
        let more = found.len() > rows;
        found.truncate(rows);
        if matches!(start, Start::Above(_)) {
            found.reverse();
        }
        Page { rows: found, more }
    }
}

fn begins_with(select: &mut QueryBuilder<MySql>, column: &str, pattern: &str) {
    select.push(format!("{column} LIKE ")).push_bind(pattern.to_owned()).push(" ESCAPE '|'");
}

/// Nothing in the search is a wildcard.
fn pattern(search: &str) -> String {
    format!("{}%", search.replace('|', "||").replace('%', "|%").replace('_', "|_"))
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn nothing_in_a_search_is_a_wildcard() {
        assert_eq!(pattern("50%_|\\"), "50|%|_||\\%");
    }
}
