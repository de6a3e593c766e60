//! Registering: those who come at the same time are saved by one statement and one commit.
//!
//! A commit takes what is there and never waits for more; whoever comes meanwhile is in the next one. So a
//! visitor who is alone gets a commit of their own, and many at once cost the database little more.

mod commit;

use std::{sync::Arc, time::Duration};

use contracts::Message;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{DEADLINE, RegisterError, Registered, Registration, Unavailable};
use commit::{one_by_one, together};

/// The most that one statement registers.
const BATCH: usize = 64;

/// Connections that register. One collects while the other commits; more make smaller batches.
const CONNECTIONS: usize = 2;

/// So many may wait for a commit; whoever comes then waits for a place first.
const WAITING: usize = 1024;

/// A connection that did nothing for so long is asked whether it is still there, before anybody depends on it.
const UNUSED: Duration = Duration::from_millis(500);

type Outcome = Result<Registered, RegisterError>;

/// Somebody, the event that tells of them, and who waits for what becomes of it.
struct Turn {
    registration: Registration,
    message_id: Uuid,
    body: String,
    answer: oneshot::Sender<Outcome>,
}

/// The way to the connections that register.
#[derive(Debug, Clone)]
pub(super) struct Registering {
    turns: mpsc::Sender<Turn>,
}

impl Registering {
    /// The connections are made when they are first needed, and end when this is dropped.
    pub(super) fn start(database: &PgConnectOptions) -> Self {
        let (turns, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..CONNECTIONS {
            let waiting = Arc::clone(&waiting);
            tokio::spawn(Registrar { database: database.clone(), unused: None }.run(waiting));
        }
        Self { turns }
    }

    pub(super) async fn register(&self, registration: Registration) -> Outcome {
        let deadline = Instant::now() + DEADLINE;
        let (answer, outcome) = oneshot::channel();
        let body = registration.customer.registered().to_json();
        let turn = Turn { registration, message_id: Uuid::now_v7(), body, answer };
        let sent_and_answered = async {
            self.turns.send(turn).await.ok()?;
            outcome.await.ok()
        };
        match timeout_at(deadline, sent_and_answered).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(Unavailable::NoAnswer.into()),
        }
    }
}

/// One connection and its work.
struct Registrar {
    database: PgConnectOptions,
    /// The connection, and when it was last used; it is away while a statement runs, so that whatever goes
    /// wrong, a deadline too, leaves none that may be half dead.
    unused: Option<(PgConnection, Instant)>,
}

impl Registrar {
    async fn run(mut self, waiting: Arc<Mutex<mpsc::Receiver<Turn>>>) {
        let mut turns = Vec::with_capacity(BATCH);
        while waiting.lock().await.recv_many(&mut turns, BATCH).await > 0 {
            // Whoever was told by now that it takes too long is not to be registered after all.
            turns.retain(|turn| !turn.answer.is_closed());
            if turns.is_empty() {
                continue;
            }
            let outcomes = self.register(&turns).await;
            for (turn, outcome) in turns.drain(..).zip(outcomes) {
                let _ = turn.answer.send(outcome);
            }
        }
    }

    /// An outcome for each, in order.
    async fn register(&mut self, turns: &[Turn]) -> Vec<Outcome> {
        let saved = match timeout(DEADLINE, self.save(turns)).await {
            Ok(saved) => saved.map_err(Unavailable::from),
            Err(_) => Err(Unavailable::NoAnswer),
        };
        saved.unwrap_or_else(|error| turns.iter().map(|_| Err(error.clone().into())).collect())
    }

    async fn save(&mut self, turns: &[Turn]) -> sqlx::Result<Vec<Outcome>> {
        let mut connection = self.connection().await?;
        let outcomes = match together(&mut connection, turns).await {
            Err(sqlx::Error::Database(_)) if turns.len() > 1 => one_by_one(&mut connection, turns).await?,
            outcomes => outcomes?,
        };
        self.unused = Some((connection, Instant::now()));
        Ok(outcomes)
    }

    async fn connection(&mut self) -> sqlx::Result<PgConnection> {
        if let Some((mut connection, since)) = self.unused.take()
            && (since.elapsed() < UNUSED || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        let mut connection = PgConnection::connect_with(&self.database).await?;
        // The one way to do it, whoever comes; else the server plans it anew for each commit.
        connection.execute("SET plan_cache_mode = force_generic_plan").await?;
        Ok(connection)
    }
}
