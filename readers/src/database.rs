//! Connections, deadlines, and errors of both databases. Sessions are read-only.

use std::time::Duration;

use access::{NoUsableHost, tls_failure};
use anyhow::Context;
use tokio::time::timeout;

/// The time limit of one query. A query reads one page.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_mins(1);

/// The limit of a statement on the server, in seconds. It is below [`QUERY_TIMEOUT`], because the client's own deadline
/// does not end a statement: each retry would leave another one behind.
pub(crate) const STATEMENT_LIMIT_SECONDS: u64 = 50;

/// The time limit of a connection. An address that does not respond must not delay the report for longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the cause of an error. A failure of TLS, and a list of hosts, have texts of their own.
fn cause(error: sqlx::Error) -> anyhow::Error {
    match (tls_failure(&error), NoUsableHost::of(&error)) {
        (Some(failure), _) => failure.into(),
        (None, Some(hosts)) => anyhow::Error::msg(hosts.to_string()),
        (None, None) => error.into(),
    }
}

/// A database, for error messages.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) database: &'static str,
    /// The environment variable with its URL.
    pub(crate) variable: &'static str,
}

impl Name {
    /// Awaits a query, and names the database and the remedy in the error.
    pub(crate) async fn query<T>(&self, query: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
        self.within(QUERY_TIMEOUT, query).await
    }

    /// Awaits a new connection, and names the database and the remedy in the error.
    pub(crate) async fn connect<T>(
        &self,
        connect: impl Future<Output = sqlx::Result<T>>,
    ) -> anyhow::Result<T> {
        self.within(CONNECT_TIMEOUT, connect).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = sqlx::Result<T>>,
    ) -> anyhow::Result<T> {
        let Self { database, variable } = self;
        let remedy =
            || format!("{database} cannot be read; check that it runs and that {variable} leads to it");
        let limited = timeout(limit, operation).await.context("no reply in time").with_context(remedy)?;
        limited.map_err(cause).with_context(remedy)
    }
}
