//! The events of one page of customers.
//!
//! A page follows the key of `customers`, so its cost does not depend on the size of the table or on the position.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::topology::WEB_STORE_REPLAYS;
use messaging::Outgoing;
use sqlx::PgConnection;
use telemetry::create_span;
use uuid::Uuid;

use crate::{
    erasure::{self, ErasedCustomer},
    version::{CustomerVersion, StoredVersion},
};

/// The largest number of customers of one page. Each has one or two events.
///
/// A live event waits behind a page at the broker, so a page is small. In one series of benchmarks, the 99th percentile of
/// live events was 30 ms with 1,000 customers and 17 ms with 256. In another it was 14.7 ms with 256 and 10.5 ms with 128.
/// Smaller pages are slower: each page costs one commit and one round trip to the broker.
const PAGE_CUSTOMERS: i64 = 128;

/// The largest number of customers that a page reads if the replay selects only some of their events. The statement
/// takes milliseconds, far below its limit.
const PAGE_SCAN: i64 = 20_000;

/// The events of one page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Outgoing>,
    /// The last customer of the page.
    pub(super) end: Option<Uuid>,
    /// Whether the page ends the replay.
    pub(super) is_last: bool,
}

/// The events of a customer that a replay sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventFilter {
    pub(super) with_registrations: bool,
    pub(super) with_changes: bool,
    pub(super) with_erasures: bool,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) until: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// Returns whether the filter selects only some of the customers, so that a page reads more rows than it sends.
    pub(super) fn is_sparse(&self) -> bool {
        !self.with_registrations || self.since.is_some() || self.until.is_some()
    }

    pub(super) fn has_registration_at(&self, time: DateTime<Utc>) -> bool {
        self.with_registrations && self.has_time(time)
    }

    pub(super) fn has_change_at(&self, time: DateTime<Utc>) -> bool {
        self.with_changes && self.has_time(time)
    }

    fn has_erasure_at(&self, time: DateTime<Utc>) -> bool {
        self.with_erasures && self.has_time(time)
    }

    fn has_time(&self, time: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

impl Page {
    /// Returns the only page of a replay without customers.
    pub(super) fn empty() -> Self {
        Self { events: Vec::new(), end: None, is_last: true }
    }

    pub(super) fn event_count(&self) -> i64 {
        i64::try_from(self.events.len()).unwrap_or(i64::MAX)
    }
}

/// Returns the page of these customers. Ids of unknown customers are ignored.
pub(super) async fn of_customers(
    connection: &mut PgConnection,
    ids: &[Uuid],
    filter: &EventFilter,
    traceparent: &str,
) -> sqlx::Result<Page> {
    let select = sqlx::query_as!(
        StoredVersion,
        "SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at, message_id
        FROM customers WHERE id = ANY ($1)",
        ids,
    );
    let customers = select.fetch_all(&mut *connection).await?;
    let mut events = events(connection, customers, filter, traceparent).await?;
    let erased = erasure::of_customers(connection, ids).await?;
    let erased = erased.into_iter().filter(|erased| filter.has_erasure_at(erased.erased_at));
    events.extend(erased.map(|erased| erasure_event(&erased, traceparent)));
    Ok(Page { events, end: ids.last().copied(), is_last: true })
}

/// Returns the page of the customers after `after`, up to `last`.
pub(super) async fn after_customer(
    connection: &mut PgConnection,
    after: Uuid,
    last: Uuid,
    filter: &EventFilter,
    traceparent: &str,
) -> sqlx::Result<Page> {
    let end = if filter.is_sparse() { scan_end(connection, after, last).await? } else { last };
    let select = sqlx::query_as!(
        StoredVersion,
        "SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at, message_id
        FROM customers
        WHERE id > $1 AND id <= $2 AND (
            ($3 AND ($5::timestamptz IS NULL OR registered_at >= $5)
                AND ($6::timestamptz IS NULL OR registered_at < $6))
            OR ($4 AND changed_at IS NOT NULL AND ($5::timestamptz IS NULL OR changed_at >= $5)
                AND ($6::timestamptz IS NULL OR changed_at < $6)))
        ORDER BY id LIMIT $7",
        after,
        end,
        filter.with_registrations,
        filter.with_changes,
        filter.since,
        filter.until,
        PAGE_CUSTOMERS,
    );
    let mut customers = select.fetch_all(&mut *connection).await?;
    // A full page may end before the last customer that it was allowed to read.
    let end = customers.last().filter(|_| is_full(customers.len())).map_or(end, |last| last.customer_id);
    let mut erased = Vec::new();
    if filter.with_erasures {
        let period = (filter.since, filter.until);
        erased = erasure::after_customer(connection, (after, end), period, PAGE_CUSTOMERS).await?;
    }
    let end = erased.last().filter(|_| is_full(erased.len())).map_or(end, |last| last.customer_id);
    customers.retain(|customer| customer.customer_id <= end);
    let mut events = events(connection, customers, filter, traceparent).await?;
    events.extend(erased.iter().map(|erased| erasure_event(erased, traceparent)));
    Ok(Page { events, end: Some(end), is_last: end == last })
}

fn is_full(customers: usize) -> bool {
    usize::try_from(PAGE_CUSTOMERS).is_ok_and(|limit| customers >= limit)
}

/// Returns the last customer that a page reads.
async fn scan_end(connection: &mut PgConnection, after: Uuid, last: Uuid) -> sqlx::Result<Uuid> {
    let select = sqlx::query_scalar!(
        "SELECT id FROM customers WHERE id > $1 AND id <= $2 ORDER BY id OFFSET $3 LIMIT 1",
        after,
        last,
        PAGE_SCAN - 1,
    );
    Ok(select.fetch_optional(connection).await?.unwrap_or(last))
}

/// Returns the selected events of the customers: the registration and the newest change of each.
async fn events(
    connection: &mut PgConnection,
    customers: Vec<StoredVersion>,
    filter: &EventFilter,
    traceparent: &str,
) -> sqlx::Result<Vec<Outgoing>> {
    let is_past_registration = |customer: &&StoredVersion| {
        customer.version > 1 && filter.has_registration_at(customer.registered_at)
    };
    let changed: Vec<Uuid> =
        customers.iter().filter(is_past_registration).map(|customer| customer.customer_id).collect();
    let mut registrations = registrations(connection, &changed).await?;
    let mut events = Vec::with_capacity(customers.len() + changed.len());
    for current in customers {
        let is_selected = match current.changed_at {
            Some(changed_at) => filter.has_change_at(changed_at),
            None => filter.has_registration_at(current.registered_at),
        };
        events.extend(registrations.remove(&current.customer_id).map(|stored| event(stored, traceparent)));
        if is_selected {
            events.push(event(current, traceparent));
        }
    }
    Ok(events)
}

/// Returns the first versions of customers who have changed their details.
async fn registrations(
    connection: &mut PgConnection,
    changed: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, StoredVersion>> {
    if changed.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query_as!(
        StoredVersion,
        r#"SELECT customer_id, past.version, past.name, email, past.marketing_consent, registered_at, past.changed_at,
            past.message_id
        FROM customer_versions AS past JOIN customers ON customers.id = past.customer_id
        WHERE customer_id = ANY ($1) AND past.version = 1"#,
        changed,
    );
    let registrations = select.fetch_all(connection).await?;
    Ok(registrations.into_iter().map(|stored| (stored.customer_id, stored)).collect())
}

/// Returns the event of a version as it was sent first: with its original id, time, and body.
fn event(stored: StoredVersion, traceparent: &str) -> Outgoing {
    let message_id = stored.message_id;
    CustomerVersion::from(stored)
        .event(message_id, create_span(Some(traceparent), WEB_STORE_REPLAYS))
        .into_message(WEB_STORE_REPLAYS, true)
}

/// Returns the event of an erasure as it was sent first.
fn erasure_event(erased: &ErasedCustomer, traceparent: &str) -> Outgoing {
    let traceparent = create_span(Some(traceparent), WEB_STORE_REPLAYS);
    erased.event(traceparent).into_message(WEB_STORE_REPLAYS, true)
}
