//! The table `replays`: requests, their position, and their end.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, PgTransaction};
use uuid::Uuid;

use super::page::{self, EventFilter, Page};
use crate::{
    postgres::{DatabaseUrl, PostgresError, USE_INDEXES, connect, with_deadline},
    schema,
    store::insert_version,
    version::{CustomerVersion, StoredVersion},
};

/// The limit for one step. After it, the session ends and the replayer connects again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// A valid request, with the properties of its envelope.
#[derive(Debug)]
pub(super) struct ReplayRequest {
    /// The `message_id` of the command.
    pub(super) id: Uuid,
    pub(super) queue: String,
    pub(super) filter: EventFilter,
    /// `None` for all customers.
    pub(super) customers: Option<Vec<KnownCustomer>>,
    pub(super) reply_to: Option<String>,
    pub(super) correlation_id: String,
    pub(super) traceparent: String,
}

/// A requested customer, and the version that the subscriber has. 0 if the subscriber did not name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownCustomer {
    pub(super) id: Uuid,
    pub(super) version: i32,
}

/// Inserts a request, unless it is a copy. Returns whether it was new.
pub(super) async fn insert(connection: &mut PgConnection, request: &ReplayRequest) -> sqlx::Result<bool> {
    let ReplayRequest { id, queue, filter, customers, reply_to, correlation_id, traceparent } = request;
    let ids = customers.as_ref().map(|customers| customers.iter().map(|one| one.id).collect::<Vec<_>>());
    let versions =
        customers.as_ref().map(|customers| customers.iter().map(|one| one.version).collect::<Vec<_>>());
    let insert = sqlx::query!(
        "INSERT INTO replays (id, queue, with_registrations, with_changes, with_erasures, since, until, customer_ids,
            known_versions, reply_to, correlation_id, traceparent, last_customer)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, greatest(
            (SELECT customers.id FROM customers ORDER BY customers.id DESC LIMIT 1),
            (SELECT customer_id FROM erased_customers WHERE $5 ORDER BY customer_id DESC LIMIT 1))
        ON CONFLICT (id) DO NOTHING",
        id,
        queue,
        filter.with_registrations,
        filter.with_changes,
        filter.with_erasures,
        filter.since,
        filter.until,
        ids.as_deref(),
        versions.as_deref(),
        reply_to.as_deref(),
        correlation_id,
        traceparent,
    );
    Ok(insert.execute(connection).await?.rows_affected() == 1)
}

/// The replayer's own connection to the database. It lasts as long as the replayer's session.
pub(super) struct ReplayTable {
    connection: PgConnection,
}

/// A replay that is locked for one page, until the claim is completed or dropped.
pub(super) struct Claim<'a> {
    transaction: PgTransaction<'a>,
    pub(super) replay: RunningReplay,
}

/// A row of a replay that has not ended.
#[derive(Debug)]
pub(super) struct RunningReplay {
    pub(super) id: Uuid,
    pub(super) queue: String,
    pub(super) reply_to: Option<String>,
    pub(super) correlation_id: String,
    pub(super) traceparent: String,
    pub(super) published: i64,
    /// Whether the last report was sent some seconds ago.
    pub(super) is_report_due: bool,
    /// Whether no queue has accepted the events for 24 hours.
    pub(super) is_refused_too_long: bool,
    is_refused: bool,
    filter: EventFilter,
    customer_ids: Option<Vec<Uuid>>,
    known_versions: Option<Vec<i32>>,
    position: Option<Uuid>,
    last_customer: Option<Uuid>,
}

impl ReplayTable {
    /// Connects to the database.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn connect(database: &DatabaseUrl) -> Result<Self, PostgresError> {
        Ok(Self { connection: connect(database, QUERY_TIMEOUT, USE_INDEXES).await? })
    }

    /// Waits until the schema is sufficient.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn wait_for_schema(&mut self) -> Result<(), PostgresError> {
        schema::wait_until_sufficient(&mut self.connection, QUERY_TIMEOUT, "the replayer").await
    }

    /// Claims the replay whose last page is the oldest, except those in `paused` and those that another instance has
    /// claimed. Returns `None` if there is none.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn claim(&mut self, paused: &[Uuid]) -> Result<Option<Claim<'_>>, PostgresError> {
        let mut transaction = with_deadline(QUERY_TIMEOUT, self.connection.begin()).await?;
        let claim = sqlx::query!(
            r#"SELECT id, queue, with_registrations, with_changes, with_erasures, since, until, customer_ids,
                known_versions, reply_to, correlation_id, traceparent, position, last_customer, published,
                coalesce(reported_at <= now() - interval '3 seconds', true) AS "is_report_due!",
                coalesce(refused_since <= now() - interval '24 hours', false) AS "is_refused_too_long!",
                refused_since IS NOT NULL AS "is_refused!"
            FROM replays
            WHERE state = 'running' AND id <> ALL ($1)
            ORDER BY last_turn_at LIMIT 1 FOR UPDATE SKIP LOCKED"#,
            paused,
        );
        let Some(row) = with_deadline(QUERY_TIMEOUT, claim.fetch_optional(&mut *transaction)).await? else {
            // The connection may be idle afterwards, and an open transaction would delay the cleanup of deleted rows.
            with_deadline(QUERY_TIMEOUT, transaction.rollback()).await?;
            return Ok(None);
        };
        let replay = RunningReplay {
            id: row.id,
            queue: row.queue,
            reply_to: row.reply_to,
            correlation_id: row.correlation_id,
            traceparent: row.traceparent,
            published: row.published,
            is_report_due: row.is_report_due,
            is_refused_too_long: row.is_refused_too_long,
            is_refused: row.is_refused,
            filter: EventFilter {
                with_registrations: row.with_registrations,
                with_changes: row.with_changes,
                with_erasures: row.with_erasures,
                since: row.since,
                until: row.until,
            },
            customer_ids: row.customer_ids,
            known_versions: row.known_versions,
            position: row.position,
            last_customer: row.last_customer,
        };
        Ok(Some(Claim { transaction, replay }))
    }
}

impl RunningReplay {
    /// Returns whether the subscriber's versions have not been compared yet.
    pub(super) fn has_known_versions(&self) -> bool {
        self.known_versions.is_some()
    }
}

impl Claim<'_> {
    /// Gives each customer with a lower version than the one of the subscriber a new version above both, and commits.
    /// Returns the number of these customers.
    ///
    /// The subscriber's version comes from before a restore of this database, and its details are lost here. The new
    /// version is an ordinary change with the current details, so they win everywhere.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable. Then nothing was changed.
    pub(super) async fn replace_lower_versions(mut self) -> Result<usize, PostgresError> {
        let ids = self.replay.customer_ids.take().unwrap_or_default();
        let known_versions = self.replay.known_versions.take().unwrap_or_default();
        let mut replaced = 0;
        for (id, known) in ids.into_iter().zip(known_versions).filter(|(_, known)| *known > 0) {
            let replace = replace_version(&mut self.transaction, id, known, &self.replay.traceparent);
            replaced += usize::from(with_deadline(QUERY_TIMEOUT, replace).await?);
        }
        let compared = sqlx::query!("UPDATE replays SET known_versions = NULL WHERE id = $1", self.replay.id);
        with_deadline(QUERY_TIMEOUT, compared.execute(&mut *self.transaction)).await?;
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await?;
        Ok(replaced)
    }

    /// Reads the next page.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn read_page(&mut self) -> Result<Page, PostgresError> {
        let RunningReplay { filter, customer_ids, position, last_customer, traceparent, .. } = &self.replay;
        let page = async {
            match (customer_ids, last_customer) {
                (Some(ids), _) => page::of_customers(&mut self.transaction, ids, filter, traceparent).await,
                (None, Some(last)) => {
                    let after = position.unwrap_or_default();
                    page::after_customer(&mut self.transaction, after, *last, filter, traceparent).await
                }
                (None, None) => Ok(Page::empty()),
            }
        };
        with_deadline(QUERY_TIMEOUT, page).await
    }

    /// Moves the position behind a confirmed page, and ends the replay after the last page.
    ///
    /// Only the last page waits for the disk. A crash of PostgreSQL can therefore lose the positions of its last 0.6 s,
    /// three times `wal_writer_delay`, and these pages are sent again. Registrations wait for fewer flushes.
    /// <https://www.postgresql.org/docs/current/wal-async-commit.html>
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable. Then the page is sent again.
    pub(super) async fn complete_page(mut self, page: &Page, is_reported: bool) -> Result<(), PostgresError> {
        let update = sqlx::query!(
            "UPDATE replays
            SET position = $2, published = published + $3, refused_since = NULL, last_turn_at = clock_timestamp(),
                reported_at = CASE WHEN $4 THEN now() ELSE reported_at END,
                state = CASE WHEN $5 THEN 'completed' ELSE state END,
                ended_at = CASE WHEN $5 THEN now() END
            WHERE id = $1",
            self.replay.id,
            page.end,
            page.event_count(),
            is_reported,
            page.is_last,
        );
        with_deadline(QUERY_TIMEOUT, update.execute(&mut *self.transaction)).await?;
        if page.is_last {
            let forget = sqlx::query!("DELETE FROM replays WHERE ended_at < now() - interval '30 days'");
            with_deadline(QUERY_TIMEOUT, forget.execute(&mut *self.transaction)).await?;
        } else {
            let no_wait = self.transaction.execute("SET LOCAL synchronous_commit = off");
            with_deadline(QUERY_TIMEOUT, no_wait).await?;
        }
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await
    }

    /// Notes that no queue accepted a page.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn note_refusal(mut self) -> Result<(), PostgresError> {
        if !self.replay.is_refused {
            let note = sqlx::query!("UPDATE replays SET refused_since = now() WHERE id = $1", self.replay.id);
            with_deadline(QUERY_TIMEOUT, note.execute(&mut *self.transaction)).await?;
        }
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await
    }

    /// Releases the replay without a page, so that other instances can claim it.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn release(self) -> Result<(), PostgresError> {
        with_deadline(QUERY_TIMEOUT, self.transaction.rollback()).await
    }

    /// Ends the replay without its remaining events.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(super) async fn fail(mut self, reason: &str) -> Result<(), PostgresError> {
        let fail = sqlx::query!(
            "UPDATE replays SET state = 'failed', reason = $2, ended_at = now() WHERE id = $1",
            self.replay.id,
            reason,
        );
        with_deadline(QUERY_TIMEOUT, fail.execute(&mut *self.transaction)).await?;
        with_deadline(QUERY_TIMEOUT, self.transaction.commit()).await
    }
}

/// Inserts a version above `known` with the customer's current details. Returns `false` if the current version is not
/// lower, or if there is no such customer.
async fn replace_version(
    connection: &mut PgConnection,
    customer_id: Uuid,
    known: i32,
    traceparent: &str,
) -> sqlx::Result<bool> {
    loop {
        let select = sqlx::query_as!(
            StoredVersion,
            "SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at, message_id
            FROM customers WHERE id = $1 AND version < $2",
            customer_id,
            known,
        );
        let Some(stored) = select.fetch_optional(&mut *connection).await? else { return Ok(false) };
        let current = CustomerVersion::from(stored);
        let next = current.above(known);
        if insert_version(&mut *connection, current.number, &next, Some(traceparent)).await? {
            return Ok(true);
        }
        // The customer has changed their details meanwhile. Compare again.
    }
}
