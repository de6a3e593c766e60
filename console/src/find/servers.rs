//! The servers that a search reads. One that cannot be read is noted, and the search goes on without it.

use readers::{marketing::Marketing, web_store::WebStore};
use reconciliation::Sources;

/// The connections of a search.
pub(super) struct Servers<'a> {
    pub(super) sources: &'a Sources,
    /// `None` if the database cannot be read.
    pub(super) web_store: Option<WebStore>,
    pub(super) marketing: Option<Marketing>,
    pub(super) unreadable: Unreadable,
}

/// The reasons why servers cannot be read, each with the name of its server.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Vec<String>);

impl Unreadable {
    /// Notes an error, unless the server is noted already.
    pub(super) fn note(&mut self, error: &anyhow::Error) {
        let server = error.to_string();
        if !self.0.iter().any(|noted| noted.starts_with(&server)) {
            self.0.push(format!("{error:#}"));
        }
    }

    pub(super) fn into_reasons(self) -> Vec<String> {
        self.0
    }
}

impl<'a> Servers<'a> {
    /// Connects to both databases.
    pub(super) async fn connect(sources: &'a Sources) -> Self {
        let connections = &sources.connections;
        let (web_store, marketing) = tokio::join!(
            WebStore::connect(&connections.web_store_database_url),
            Marketing::connect(&connections.marketing_database_url),
        );
        let mut unreadable = Unreadable::default();
        let web_store = web_store.inspect_err(|error| unreadable.note(error)).ok();
        let marketing = marketing.inspect_err(|error| unreadable.note(error)).ok();
        Self { sources, web_store, marketing, unreadable }
    }

    /// Returns the result of a query, or `None` if the Web Store's database cannot be read. It is not queried again then.
    pub(super) async fn in_web_store<T>(
        &mut self,
        query: impl AsyncFnOnce(&mut WebStore) -> anyhow::Result<T>,
    ) -> Option<T> {
        let result = query(self.web_store.as_mut()?).await;
        result.inspect_err(|error| self.lose_web_store(error)).ok()
    }

    /// Returns the result of a query, or `None` if Marketing's database cannot be read. It is not queried again then.
    pub(super) async fn in_marketing<T>(
        &mut self,
        query: impl AsyncFnOnce(&mut Marketing) -> anyhow::Result<T>,
    ) -> Option<T> {
        let result = query(self.marketing.as_mut()?).await;
        result.inspect_err(|error| self.lose_marketing(error)).ok()
    }

    fn lose_web_store(&mut self, error: &anyhow::Error) {
        self.unreadable.note(error);
        self.web_store = None;
    }

    fn lose_marketing(&mut self, error: &anyhow::Error) {
        self.unreadable.note(error);
        self.marketing = None;
    }
}
