//! Changes of a customer's details: each is one statement and one commit, with the event that tells of it.

use uuid::Uuid;

use super::{Store, Unavailable};
use crate::{
    customer::Name,
    edit_key::EditKey,
    version::{Row, Version},
};

impl Store {
    /// The version of a customer that holds; `None` if there is no such customer or the key is not theirs.
    ///
    /// # Errors
    /// The database is away.
    pub async fn version(&self, customer_id: Uuid, key: EditKey) -> Result<Option<Version>, Unavailable> {
        let select = sqlx::query_as!(
            Row,
            "SELECT id AS customer_id, version, name, email, marketing_consent, registered_at, changed_at,
                message_id
            FROM customers WHERE id = $1 AND edit_key = $2",
            customer_id,
            key.uuid(),
        );
        let row = self.in_time(async |connection| select.fetch_optional(&mut **connection).await).await?;
        Ok(row.map(Version::from))
    }

    /// Saves a customer's details as their next version and, by the same commit, the version before and the
    /// event that tells of this one. Where nothing would change, nothing is saved and nothing told. The
    /// version that holds then; `None` if there is no such customer or the key is not theirs.
    ///
    /// # Errors
    /// Nothing was saved; unless the database did not answer: then all may yet be, or nothing.
    pub async fn edit(
        &self,
        customer_id: Uuid,
        key: EditKey,
        (name, marketing_consent): (&Name, bool),
        traceparent: &str,
    ) -> Result<Option<Version>, Unavailable> {
        loop {
            let Some(version) = self.version(customer_id, key).await? else { return Ok(None) };
            let Some(next) = version.next(name, marketing_consent) else { return Ok(Some(version)) };
            if self.save(&next, traceparent).await? {
                return Ok(Some(next));
            }
            // Another edit made that version in the meantime; this one then comes after it.
        }
    }

    /// Whether it was saved: the one before still was the version that holds. Both versions are read from
    /// the same snapshot, so what is kept of the one before is what the update replaces.
    async fn save(&self, next: &Version, traceparent: &str) -> Result<bool, Unavailable> {
        let (customer, event, message_id) = (&next.customer, next.event(), Uuid::now_v7());
        let update = sqlx::query!(
            "WITH edited AS (
                UPDATE customers
                SET name = $3, marketing_consent = $4, version = $2, changed_at = $5, message_id = $6
                WHERE id = $1 AND version = $2 - 1
                RETURNING id
            ), past AS (
                INSERT INTO customer_versions
                    (customer_id, version, name, marketing_consent, changed_at, message_id)
                SELECT id, version, name, marketing_consent, changed_at, message_id
                FROM customers JOIN edited USING (id)
            )
            INSERT INTO outbox (message_id, message_type, correlation_id, traceparent, occurred_at, body)
            SELECT $6, $7, $8, $9, $5, $10 FROM edited",
            customer.id,
            next.number,
            customer.name.as_str(),
            customer.marketing_consent,
            event.occurred_at,
            message_id,
            event.message_type,
            message_id.to_string(),
            traceparent,
            event.body,
        );
        let saved = self.in_time(async |connection| update.execute(&mut **connection).await).await?;
        Ok(saved.rows_affected() == 1)
    }
}
