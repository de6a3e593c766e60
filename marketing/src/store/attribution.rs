//! Attributes a rejection: to the customer, or to a database that rejects every customer.

use chrono::{DateTime, NaiveDateTime};
use sqlx::{Connection, MySqlConnection};
use uuid::Uuid;

use super::statement;
use crate::{
    customer::{Customer, Details},
    mysql::{describe, is_data_error, is_duplicate},
};

/// Probes for one attribution. A rule that rejects some customers accepts one of the newest rows.
const PROBES: usize = 5;

/// Columns of the newest rows with other e-mail addresses than the rejected customer's. MySQL accepted these
/// values before. Forgotten customers have no values.
const NEWEST_ROWS: &str =
    "SELECT full_name, email_address, email_opt_in, source, customer_since FROM customers
    WHERE email_address <> ? AND email_address <> '' ORDER BY received_at DESC, customer_id DESC LIMIT 5";

/// The result of a second attempt to save a rejected customer.
#[derive(Debug)]
pub(super) enum Attribution {
    /// MySQL accepts the customer now, and the commit is done.
    Saved,
    /// MySQL rejects this customer and accepts others.
    CustomerAtFault(String),
    /// MySQL rejects every customer. The text contains no values of rows.
    DatabaseAtFault(String),
}

/// Saves the customer, or attributes its rejection by probes that are rolled back.
///
/// The customer and the probes share one transaction. Its metadata lock prevents a change of the table's
/// constraints and triggers between them.
///
/// # Errors
/// Returns an error if MySQL is unavailable. The caller must then close the connection.
pub(super) async fn save_or_attribute(
    connection: &mut MySqlConnection,
    customer: &Customer,
    segment: u32,
) -> sqlx::Result<Attribution> {
    let mut transaction = connection.begin().await?;
    let rejection = match upsert(&mut transaction, customer, segment).await {
        Ok(()) => {
            transaction.commit().await?;
            return Ok(Attribution::Saved);
        }
        Err(error) if is_data_error(&error) => error,
        Err(error) => return Err(error),
    };
    let database_error = probe(&mut transaction, customer, segment).await?;
    transaction.rollback().await?;
    Ok(match database_error {
        Some(error) => Attribution::DatabaseAtFault(error),
        None => Attribution::CustomerAtFault(
            rejection.as_database_error().map_or_else(String::new, |error| error.message().to_owned()),
        ),
    })
}

/// Returns the error of a database that rejects every probe, or `None` if it accepts one.
///
/// The neutral probe decides while the table has few rows. Its error also describes the fault, because it
/// contains no personal data.
async fn probe(
    connection: &mut MySqlConnection,
    customer: &Customer,
    segment: u32,
) -> sqlx::Result<Option<String>> {
    let updates = exists(connection, customer).await?;
    let newest = newest_rows(connection, customer).await?;
    let rows = newest.len();
    let mut newest_error = None;
    for details in newest {
        let probe = Customer::from_details(Uuid::now_v7(), details);
        match probe_error(connection, &probe, updates, segment).await? {
            Some(error) => newest_error = Some(describe(&error)),
            None => return Ok(None),
        }
    }
    let neutral = Customer::from_details(Uuid::now_v7(), neutral_details());
    match probe_error(connection, &neutral, updates, segment).await? {
        Some(error) => Ok(Some(text_of(&error))),
        None if rows < PROBES => Ok(None),
        None => Ok(newest_error),
    }
}

/// Returns the error of a probe, or `None` if MySQL accepts it. `updates` also tries the update of the row.
async fn probe_error(
    connection: &mut MySqlConnection,
    probe: &Customer,
    updates: bool,
    segment: u32,
) -> sqlx::Result<Option<sqlx::Error>> {
    let mut result = upsert(connection, probe, segment).await;
    if updates && result.is_ok() {
        result = upsert(connection, &probe.next_version(), segment).await;
    }
    match result {
        Ok(()) => Ok(None),
        // A unique index accepts customers with other values.
        Err(error) if is_duplicate(&error) => Ok(None),
        Err(error) if is_data_error(&error) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

async fn upsert(connection: &mut MySqlConnection, customer: &Customer, segment: u32) -> sqlx::Result<()> {
    statement(&[customer], segment).build().execute(connection).await?;
    Ok(())
}

/// Returns whether the table has a row of this customer, so that its rejection can come from the update.
async fn exists(connection: &mut MySqlConnection, customer: &Customer) -> sqlx::Result<bool> {
    let select = "SELECT customer_id FROM customers WHERE customer_id = ?";
    let row: Option<String> =
        sqlx::query_scalar(select).bind(customer.id().to_string()).fetch_optional(&mut *connection).await?;
    Ok(row.is_some())
}

async fn newest_rows(connection: &mut MySqlConnection, customer: &Customer) -> sqlx::Result<Vec<Details>> {
    let select = sqlx::query_as(NEWEST_ROWS).bind(customer.email_address().to_owned());
    let rows: Vec<(String, String, bool, String, NaiveDateTime)> = select.fetch_all(connection).await?;
    let details = |(full_name, email_address, email_opt_in, source, since): (_, _, _, _, NaiveDateTime)| {
        Details { full_name, email_address, email_opt_in, source, since: since.and_utc() }
    };
    Ok(rows.into_iter().map(details).collect())
}

/// Returns the details of a person who does not exist. The domain is reserved (RFC 2606).
fn neutral_details() -> Details {
    Details {
        full_name: "Probe".to_owned(),
        email_address: "probe@example.org".to_owned(),
        email_opt_in: false,
        source: "marketing".to_owned(),
        since: DateTime::UNIX_EPOCH,
    }
}

/// Returns the description of a probe's error, with the server's text.
fn text_of(error: &sqlx::Error) -> String {
    let message = error.as_database_error().map_or("", |error| error.message());
    format!("{}: {message}", describe(error))
}
