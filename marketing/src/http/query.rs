//! The query parameters of the list, and the addresses of its other pages.

use axum::extract::{Query, rejection::QueryRejection};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};

use crate::{
    list::{Cursor, Page, PageStart},
    name::nfc,
};

/// As many as the longest e-mail address has. A name is shorter.
const MAX_SEARCH_CHARACTERS: usize = 254;

/// The query of `/customers` and of the export.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    #[serde(deserialize_with = "normalized")]
    q: String,
    // The alias is the parameter in earlier bookmarks.
    #[serde(alias = "below")]
    after: String,
    #[serde(alias = "above")]
    before: String,
}

/// The parsed query. Handlers use the default for an invalid one.
pub(super) type QueryResult = Result<Query<ListQuery>, QueryRejection>;

impl ListQuery {
    /// Returns the prefix of names and addresses, or an empty text for all customers.
    #[must_use]
    pub fn search(&self) -> &str {
        let search = self.q.trim();
        let end = search.char_indices().nth(MAX_SEARCH_CHARACTERS).map_or(search.len(), |(end, _)| end);
        // The links of the page lead to the same search, which has no white space at its end.
        search[..end].trim_end()
    }

    /// Returns the start of the page. An invalid cursor gives the first page.
    #[must_use]
    pub fn start(&self) -> PageStart {
        let after = Cursor::parse(&self.after).map(PageStart::After);
        after.or_else(|| Cursor::parse(&self.before).map(PageStart::Before)).unwrap_or(PageStart::First)
    }

    /// Returns the address of the first page.
    #[must_use]
    pub fn newest(&self) -> String {
        self.address("/customers", &[])
    }

    pub(super) fn export(&self) -> String {
        self.address("/customers/export.csv", &[])
    }

    /// Returns the address of the page with older rows, if there are any.
    pub(super) fn older(&self, start: &PageStart, page: &Page) -> Option<String> {
        let more = page.more || matches!(start, PageStart::Before(_));
        let last = page.rows.last().filter(|_| more)?;
        Some(self.address("/customers", &[("after", &last.cursor().to_string())]))
    }

    /// Returns the address of the page with newer rows, unless this is the first page.
    pub(super) fn newer(&self, start: &PageStart, page: &Page) -> Option<String> {
        if *start == PageStart::First {
            return None;
        }
        let first = page.rows.first()?;
        Some(self.address("/customers", &[("before", &first.cursor().to_string())]))
    }

    fn address(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let search = Some(("q", self.search())).filter(|(_, search)| !search.is_empty());
        let pairs: Vec<_> = search
            .iter()
            .chain(parameters)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// Parses the search in Unicode's form NFC, which the names in the table have.
fn normalized<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(nfc)
}

#[cfg(test)]
mod tests {
    use axum::{extract::Query, http::Uri};

    use super::ListQuery;
    use crate::list::{Cursor, PageStart};

    #[test]
    fn links_to_other_pages_keep_search() {
        let query = ListQuery { q: " Zoë & <co> ".into(), ..ListQuery::default() };
        assert_eq!(query.newest(), "/customers?q=Zo%C3%AB%20%26%20%3Cco%3E");
        assert_eq!(query.export(), "/customers/export.csv?q=Zo%C3%AB%20%26%20%3Cco%3E");
        assert_eq!(ListQuery::default().newest(), "/customers");
    }

    #[test]
    fn search_is_normalized() {
        let uri: Uri = "/customers?q=Zoe%CC%88".parse().unwrap();
        assert_eq!(Query::<ListQuery>::try_from_uri(&uri).unwrap().search(), "Zo\u{eb}");
    }

    #[test]
    fn long_search_is_cut() {
        let query = ListQuery { q: "ë".repeat(300), ..ListQuery::default() };
        assert_eq!(query.search().chars().count(), 254);
        let query = ListQuery { q: "a".repeat(253) + " b", ..ListQuery::default() };
        assert_eq!(query.search(), "a".repeat(253));
    }

    #[test]
    fn earlier_parameter_names_are_accepted() {
        let text = "1767322800678901-01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71";
        let cursor = Cursor::parse(text).unwrap();
        for (name, start) in [
            ("after", PageStart::After(cursor.clone())),
            ("below", PageStart::After(cursor.clone())),
            ("before", PageStart::Before(cursor.clone())),
            ("above", PageStart::Before(cursor.clone())),
        ] {
            let uri: Uri = format!("/customers?{name}={text}").parse().unwrap();
            let Query(query) = Query::<ListQuery>::try_from_uri(&uri).unwrap();
            assert_eq!(query.start(), start, "{name}");
        }
    }
}
