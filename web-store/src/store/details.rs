//! Reads and updates a customer's details. Each update is one statement and one commit with its event.

use std::iter;

use contracts::topology::WEB_STORE_EVENTS;
use sqlx::PgConnection;
use telemetry::{create_span, database_span};
use uuid::Uuid;

use super::{RegisteredCustomer, Store};
use crate::{
    postgres::PostgresError,
    version::{CustomerVersion, DetailsUpdate, StoredVersion},
};

impl Store {
    /// Returns the current version of a customer, or `None` if id and key do not belong together.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if the database is unavailable.
    pub(crate) async fn current_version(
        &self,
        customer: &RegisteredCustomer,
    ) -> Result<Option<CustomerVersion>, PostgresError> {
        let select = sqlx::query_as!(
            StoredVersion,
            "SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at,
                message_id
            FROM customers WHERE id = $1 AND edit_key = $2",
            customer.customer_id,
            customer.edit_key.uuid(),
        );
        let stored = self.pool.run(async |connection| select.fetch_optional(connection).await).await?;
        Ok(stored.map(CustomerVersion::from))
    }

    /// Saves the details as the next version, together with the previous version and the event.
    ///
    /// An update that changes nothing saves nothing. Returns the version that is current afterwards, or
    /// `None` if id and key do not belong together.
    ///
    /// # Errors
    /// Returns [`PostgresError`] if nothing was saved. After [`PostgresError::NoReply`] everything may
    /// still be saved, completely or not at all.
    pub(crate) async fn update_details(
        &self,
        customer: &RegisteredCustomer,
        update: &DetailsUpdate,
        trace: Option<&str>,
    ) -> Result<Option<CustomerVersion>, PostgresError> {
        loop {
            let Some(version) = self.current_version(customer).await? else { return Ok(None) };
            let Some(next) = version.next(update) else { return Ok(Some(version)) };
            let insert =
                async |connection: &mut _| insert_version(connection, version.number, &next, trace).await;
            let inserted = self.pool.run(insert).await;
            self.note_write(inserted.as_ref().err());
            if inserted? {
                return Ok(Some(next));
            }
            // Another update has replaced the version. Retry on top of that update.
        }
    }
}

/// Inserts a version in place of the version with the number `previous`, together with that version and the event.
/// Returns `false` if another update has replaced it.
///
/// All parts of the statement read the same snapshot, so it keeps exactly the version that it replaces.
///
/// # Errors
/// Returns an error if the statement fails. Then nothing was saved.
pub(crate) async fn insert_version(
    connection: &mut PgConnection,
    previous: i32,
    next: &CustomerVersion,
    trace: Option<&str>,
) -> sqlx::Result<bool> {
    let customer = &next.customer;
    let event = next.event(Uuid::now_v7(), create_span(trace, WEB_STORE_EVENTS));
    let _span = database_span("postgresql", "UPDATE customers", trace, iter::empty());
    let update = sqlx::query_file!(
        "src/store/update_details.sql",
        customer.id,
        next.number,
        customer.name.as_str(),
        customer.marketing_consent,
        event.occurred_at,
        event.message_id,
        event.message_type,
        event.traceparent,
        event.body,
        previous,
    );
    Ok(update.execute(connection).await?.rows_affected() == 1)
}
