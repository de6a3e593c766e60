//! Queries for the history of single customers: versions with their events in the outbox, and replays.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use super::{DATABASE, WebStore};

/// The maximum of replays in a history, newest first. The table keeps replays for 30 days.
const MAX_REPLAYS: i64 = 20;

/// A version of a customer, with the message id of its event.
#[derive(Debug, Clone, FromRow)]
pub struct Version {
    /// The id of the customer.
    pub customer_id: Uuid,
    /// Numbers grow with each change, but not by 1.
    pub number: i64,
    /// The name; personal data.
    pub name: String,
    /// The e-mail address; personal data.
    pub email: String,
    /// Whether the customer agrees to e-mails of Marketing.
    pub marketing_consent: bool,
    /// The time of the registration, by the Web Store's clock.
    pub registered_at: DateTime<Utc>,
    /// The time of the change, or `None` for the registration.
    pub changed_at: Option<DateTime<Utc>>,
    /// The id of its event.
    pub message_id: Uuid,
    #[sqlx(flatten)]
    outbox: OutboxColumns,
}

/// The columns of the outbox. All are NULL if the event is not in the outbox.
#[derive(Debug, Clone, FromRow)]
struct OutboxColumns {
    queued_at: Option<DateTime<Utc>>,
    attempts: Option<i32>,
    retry_at: Option<DateTime<Utc>>,
    last_refusal: Option<String>,
}

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outbox {
    /// The time at which the event came into the outbox.
    pub queued_at: DateTime<Utc>,
    /// The number of publishes that the broker refused.
    pub attempts: i32,
    /// The time of the next attempt. `None` if the broker never refused the event.
    pub retry_at: Option<DateTime<Utc>>,
    /// `returned` (no queue has the event) or `nacked` (a queue refused it).
    pub last_refusal: Option<String>,
}

impl Version {
    /// Returns the time at which the version was accepted.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.changed_at.unwrap_or(self.registered_at)
    }

    /// Returns the row of the outbox, or `None` if the event has left.
    #[must_use]
    pub fn outbox(&self) -> Option<Outbox> {
        let OutboxColumns { queued_at, attempts, retry_at, last_refusal } = self.outbox.clone();
        let attempts = attempts.unwrap_or_default();
        Some(Outbox { queued_at: queued_at?, attempts, retry_at, last_refusal })
    }
}

#[cfg(feature = "test-util")]
impl Version {
    /// Returns a registration whose event has left the outbox.
    #[must_use]
    pub fn registered(number: i64) -> Self {
        let outbox = OutboxColumns { queued_at: None, attempts: None, retry_at: None, last_refusal: None };
        Self {
            customer_id: Uuid::nil(),
            number,
            name: "Ann".to_owned(),
            email: "ann@example.org".to_owned(),
            marketing_consent: true,
            registered_at: DateTime::UNIX_EPOCH,
            changed_at: None,
            message_id: Uuid::nil(),
            outbox,
        }
    }
}

/// A replay that sends, or has sent, events of a customer again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Replay {
    /// The id of the replay.
    pub id: Uuid,
    /// The receiving queue.
    pub queue: String,
    /// `running`, `completed`, or `failed`.
    pub state: String,
    /// The reason of a failure.
    pub reason: Option<String>,
    /// The time of the request.
    pub requested_at: DateTime<Utc>,
    /// The time of the end, or `None` while the replay runs.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether it is a replay of all customers.
    pub is_of_all: bool,
    /// Whether the broker has confirmed the customer's events.
    pub has_passed: bool,
}

impl WebStore {
    /// Returns all versions of those of `customers` that exist, by customer and version.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn versions(&mut self, customers: &[Uuid]) -> anyhow::Result<Vec<Version>> {
        let select =
            "SELECT customer_id, version::bigint AS number, name, email, marketing_consent, registered_at,
                changed_at, message_id, queued_at, attempts, retry_at, last_refusal
            FROM versions LEFT JOIN outbox USING (message_id)
            WHERE customer_id = ANY ($1) ORDER BY customer_id, version";
        DATABASE.query(sqlx::query_as(select).bind(customers).fetch_all(&mut self.0)).await
    }

    /// Returns the newest replays that include a customer, oldest first. `registered` and `changed` are the times of the
    /// first and the newest version.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read.
    pub async fn replays(
        &mut self,
        customer: Uuid,
        registered: DateTime<Utc>,
        changed: DateTime<Utc>,
    ) -> anyhow::Result<Vec<Replay>> {
        let select = "SELECT id, queue, state, reason, requested_at, ended_at, customer_ids IS NULL AS is_of_all,
                state = 'completed' OR coalesce(position >= $1, false) AS has_passed
            FROM replays
            WHERE requested_at >= $2 AND (customer_ids IS NULL AND last_customer >= $1 OR $1 = ANY (customer_ids))
                AND (since IS NULL OR since <= $3) AND (until IS NULL OR until > $2)
            ORDER BY requested_at DESC LIMIT $4";
        let select = sqlx::query_as(select).bind(customer).bind(registered).bind(changed).bind(MAX_REPLAYS);
        let mut replays: Vec<Replay> = DATABASE.query(select.fetch_all(&mut self.0)).await?;
        replays.reverse();
        Ok(replays)
    }
}
