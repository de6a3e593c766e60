//! Registering: those who come at the same time are saved by one statement and one commit.
//!
//! A commit takes what is there and never waits for more; whoever comes meanwhile is in the next one. So a
//! visitor who is alone gets a commit of their own, and many at once cost the database little more.

use std::{slice, sync::Arc, time::Duration};

use contracts::{CustomerRegistered, Message};
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{DEADLINE, RegisterError, Registered, Registration, Unavailable};
use crate::{attempt::Attempt, edit_key::EditKey};

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

/// One statement, one commit; whom it leaves out was there before, and is looked for.
async fn together(connection: &mut PgConnection, turns: &[Turn]) -> sqlx::Result<Vec<Outcome>> {
    let saved = insert(connection, turns).await?;
    let mut outcomes = Vec::with_capacity(turns.len());
    for turn in turns {
        let Registration { customer, key, attempt, .. } = &turn.registration;
        outcomes.push(if saved.contains(&turn.message_id) {
            Ok(Registered { customer_id: customer.id, key: *key })
        } else {
            earlier(connection, *attempt).await?
        });
    }
    Ok(outcomes)
}

/// For when the database refuses the statement: nobody is to suffer for somebody else's row.
async fn one_by_one(connection: &mut PgConnection, turns: &[Turn]) -> sqlx::Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(turns.len());
    for turn in turns {
        match together(connection, slice::from_ref(turn)).await {
            Ok(outcome) => outcomes.extend(outcome),
            Err(refusal @ sqlx::Error::Database(_)) => outcomes.push(Err(Unavailable::from(refusal).into())),
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}

/// Saves all whom nobody is in the way of; the message ids of those.
async fn insert(connection: &mut PgConnection, turns: &[Turn]) -> sqlx::Result<Vec<Uuid>> {
    let customers = || turns.iter().map(|turn| &turn.registration.customer);
    let attempts = || turns.iter().map(|turn| turn.registration.attempt);
    let insert = sqlx::query_file_scalar!(
        "src/store/register.sql",
        &customers().map(|customer| customer.id).collect::<Vec<_>>(),
        &customers().map(|customer| customer.name.as_str()).collect::<Vec<_>>() as &[&str],
        &customers().map(|customer| customer.email.as_str()).collect::<Vec<_>>() as &[&str],
        &customers().map(|customer| customer.marketing_consent).collect::<Vec<_>>(),
        &customers().map(|customer| customer.registered_at).collect::<Vec<_>>(),
        &turns.iter().map(|turn| turn.message_id).collect::<Vec<_>>(),
        &turns.iter().map(|turn| turn.registration.traceparent.as_str()).collect::<Vec<_>>() as &[&str],
        &turns.iter().map(|turn| turn.body.as_str()).collect::<Vec<_>>() as &[&str],
        &attempts().map(|attempt| Some(attempt?.key)).collect::<Vec<_>>() as &[Option<Uuid>],
        &attempts().map(|attempt| Some(attempt?.request)).collect::<Vec<_>>() as &[Option<Uuid>],
        &turns.iter().map(|turn| turn.registration.key.uuid()).collect::<Vec<_>>(),
        CustomerRegistered::TYPE,
    );
    insert.fetch_all(connection).await
}

/// What stands in the way of somebody: their own earlier attempt, or else somebody with their address.
/// Looked for only then, so the first attempt costs nothing more.
async fn earlier(connection: &mut PgConnection, attempt: Option<Attempt>) -> sqlx::Result<Outcome> {
    let Some(attempt) = attempt else { return Ok(Err(RegisterError::EmailTaken)) };
    let select = sqlx::query!(
        r#"SELECT id, request AS "request!", edit_key FROM customers WHERE idempotency_key = $1"#,
        attempt.key,
    );
    Ok(match select.fetch_optional(connection).await? {
        Some(earlier) if earlier.request == attempt.request => {
            Ok(Registered { customer_id: earlier.id, key: EditKey::stored(earlier.edit_key) })
        }
        Some(_) => Err(RegisterError::KeyUsed),
        None => Err(RegisterError::EmailTaken),
    })
}
