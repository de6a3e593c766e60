//! What part of the list somebody asks for, and the addresses of its neighbours.

use axum::extract::{Query, rejection::QueryRejection};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::list::{Page, Place, Start};

/// More than any name or address has.
const SEARCH_CHARACTERS: usize = 254;

/// The query of `/customers` and of the export.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    below: String,
    above: String,
}

/// One that cannot be read is taken for none.
pub(super) type QueryResult = Result<Query<ListQuery>, QueryRejection>;

impl ListQuery {
    /// What names and addresses have to begin with; empty for all.
    pub(super) fn search(&self) -> &str {
        let search = self.q.trim();
        search.char_indices().nth(SEARCH_CHARACTERS).map_or(search, |(end, _)| &search[..end])
    }

    /// A place that cannot be read is the top.
    pub(super) fn start(&self) -> Start {
        let below = Place::parse(&self.below).map(Start::Below);
        below.or_else(|| Place::parse(&self.above).map(Start::Above)).unwrap_or(Start::Newest)
    }

    pub(super) fn newest(&self) -> String {
        self.address("/customers", &[])
    }

    pub(super) fn export(&self) -> String {
        self.address("/customers/export.csv", &[])
    }

    /// The page of older rows, if there is one.
    pub(super) fn older(&self, start: &Start, page: &Page) -> Option<String> {
        let more = page.more || matches!(start, Start::Above(_));
        let last = page.rows.last().filter(|_| more)?;
        Some(self.address("/customers", &[("below", &last.place().to_string())]))
    }

    /// The page of newer rows, unless this is the newest.
    pub(super) fn newer(&self, start: &Start, page: &Page) -> Option<String> {
        if *start == Start::Newest {
            return None;
        }
        let first = page.rows.first()?;
        Some(self.address("/customers", &[("above", &first.place().to_string())]))
    }

    fn address(&self, path: &str, more: &[(&str, &str)]) -> String {
        let search = Some(("q", self.search())).filter(|(_, search)| !search.is_empty());
        let pairs: Vec<_> = search
            .iter()
            .chain(more)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::ListQuery;

    #[test]
    fn a_search_goes_along_to_the_other_pages() {
        let query = ListQuery { q: " Zoë & <co> ".into(), ..ListQuery::default() };
        assert_eq!(query.newest(), "/customers?q=Zo%C3%AB%20%26%20%3Cco%3E");
        assert_eq!(query.export(), "/customers/export.csv?q=Zo%C3%AB%20%26%20%3Cco%3E");
        assert_eq!(ListQuery::default().newest(), "/customers");
    }

    #[test]
    fn a_search_has_an_end() {
        let query = ListQuery { q: "ë".repeat(300), ..ListQuery::default() };
        assert_eq!(query.search().chars().count(), 254);
    }
}
