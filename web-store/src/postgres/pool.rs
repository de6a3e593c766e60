//! A pool of connections that closes what may be broken.
//!
//! The pool of sqlx keeps a connection after any database error, so requests would stay on a server that has become
//! read-only. Its ping has no limit of its own, so one silent connection would use up a request's deadline.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{DatabaseUrl, PostgresError, is_data_error, is_server_lost, open};

/// A connection that was idle for longer is pinged before a request depends on it.
const IDLE_BEFORE_PING: Duration = Duration::from_millis(500);

/// A server replies to a ping within milliseconds. The request still has time for a new connection.
const PING_TIMEOUT: Duration = Duration::from_millis(400);

/// Connections with the same settings. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: DatabaseUrl,
    setup: &'static str,
    /// The limit for one use, from the wait for a free slot to the result.
    deadline: Duration,
    size: usize,
    /// One for each connection.
    slots: Semaphore,
    /// The most recently used one is the last.
    idle: Mutex<Vec<Idle>>,
    /// Counts the calls of [`Pool::close_all`].
    generation: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Pool {
    /// Creates a pool that connects when a caller needs it. `setup` has statements for each new connection.
    pub(crate) fn new(database: DatabaseUrl, size: usize, deadline: Duration, setup: &'static str) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        let (slots, idle) = (Semaphore::new(size), Mutex::new(Vec::new()));
        Self(Arc::new(Inner { database, setup, deadline, size, slots, idle, generation: AtomicU64::new(0) }))
    }

    /// Runs steps on a connection. Keeps the connection only after a success or an error about the data.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if a step fails, or if there is no result before the deadline.
    pub(crate) async fn run<T>(
        &self,
        steps: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, PostgresError> {
        let deadline = Instant::now() + self.0.deadline;
        // The rest remains for the steps, so that the server's limits end a statement before the deadline does.
        let slot = timeout(self.0.deadline * 2 / 5, self.0.slots.acquire()).await;
        let _slot = slot.map_err(|_| PostgresError::NoReply)?;
        let generation = self.0.generation.load(Ordering::Acquire);
        let used = async {
            // Owned by this block, so that a timeout closes the connection.
            let mut connection = self.connection().await?;
            let result = steps(&mut connection).await;
            if result.as_ref().err().is_none_or(is_data_error) {
                self.keep(connection, generation);
            }
            result
        };
        match timeout_at(deadline, used).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_server_lost(&error) {
                    self.close_all();
                }
                Err(error.into())
            }
            Err(_) => {
                self.close_all();
                Err(PostgresError::NoReply)
            }
        }
    }

    /// Closes the idle connections now, and those in use after their use.
    pub(crate) fn close_all(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
    }

    /// Returns the numbers of connections that are idle and in use.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.idle().len(), self.0.size - self.0.slots.available_permits())
    }

    async fn connection(&self) -> sqlx::Result<PgConnection> {
        let last_used = self.idle().pop();
        if let Some(Idle { mut connection, since }) = last_used {
            if since.elapsed() < IDLE_BEFORE_PING {
                return Ok(connection);
            }
            if let Ok(Ok(())) = timeout(PING_TIMEOUT, connection.ping()).await {
                return Ok(connection);
            }
            // The others have been idle for longer.
            self.close_all();
        }
        open(&self.0.database, self.0.deadline, self.0.setup).await
    }

    fn keep(&self, connection: PgConnection, generation: u64) {
        let mut idle = self.idle();
        if self.0.generation.load(Ordering::Acquire) == generation {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
