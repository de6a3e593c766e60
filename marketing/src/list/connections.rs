//! The connections of the list. They are closed if they may be broken, or if their server is no longer the primary.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use access::is_read_only;
use sqlx::MySqlConnection;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::mysql::{self, DatabaseUrl, MysqlError, with_deadline};

/// Few connections, and none of the consumers': any number of page requests leaves the consumers their speed.
const MAX_CONNECTIONS: usize = 3;

/// Time until an unused connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Time for the reply that shows that an unused connection still works.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that are opened when a query needs one. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: DatabaseUrl,
    statement_limit: Duration,
    /// One for each connection.
    slots: Semaphore,
    /// With the time of their last use. The most recently used one is the last.
    idle: Mutex<Vec<(MySqlConnection, Instant)>>,
}

impl Connections {
    /// The server limits each statement to `statement_limit`.
    pub(super) fn new(database: DatabaseUrl, statement_limit: Duration) -> Self {
        let slots = Semaphore::new(MAX_CONNECTIONS);
        Self(Arc::new(Inner { database, statement_limit, slots, idle: Mutex::default() }))
    }

    /// Runs a query. A connection that fails or misses the deadline is closed: it may be half open.
    ///
    /// # Errors
    /// Returns [`MysqlError`] if the query fails, or if there is no result within `limit`.
    pub(super) async fn run<T>(
        &self,
        limit: Duration,
        query: impl AsyncFnOnce(&mut MySqlConnection) -> sqlx::Result<T>,
    ) -> Result<T, MysqlError> {
        let deadline = Instant::now() + limit;
        let slot = timeout_at(deadline, self.0.slots.acquire()).await;
        let _slot = slot.map_err(|_| MysqlError::NoReply)?;
        with_deadline(deadline, async {
            // Owned by this block, so that a timeout closes the connection.
            let mut connection = self.connection().await?;
            let result = query(&mut connection).await?;
            self.keep(connection);
            Ok::<_, MysqlError>(result)
        })
        .await
    }

    /// Returns the numbers of connections that are idle and in use.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.idle().len(), MAX_CONNECTIONS - self.0.slots.available_permits())
    }

    async fn connection(&self) -> Result<MySqlConnection, MysqlError> {
        while let Some((mut connection, _)) = self.take() {
            let check = timeout(CHECK_TIMEOUT, is_read_only(&mut connection)).await;
            if matches!(check, Ok(Ok(false))) {
                return Ok(connection);
            }
        }
        mysql::connect(&self.0.database, self.0.statement_limit).await
    }

    fn take(&self) -> Option<(MySqlConnection, Instant)> {
        self.idle().pop()
    }

    fn keep(&self, connection: MySqlConnection) {
        self.idle().push((connection, Instant::now()));
        let connections = self.clone();
        tokio::spawn(async move {
            sleep(IDLE_TIMEOUT).await;
            connections.idle().retain(|(_, used)| used.elapsed() < IDLE_TIMEOUT);
        });
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(MySqlConnection, Instant)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
