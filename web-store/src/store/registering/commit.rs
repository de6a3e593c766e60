//! One commit for all who are there, and what became of each of them.

use std::slice;

use contracts::{CustomerRegistered, Message};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Outcome, Turn};
use crate::{
    attempt::Attempt,
    edit_key::EditKey,
    store::{RegisterError, Registered, Registration, Unavailable},
};

/// One statement, one commit; whom it leaves out was there before, and is looked for.
pub(super) async fn together(connection: &mut PgConnection, turns: &[Turn]) -> sqlx::Result<Vec<Outcome>> {
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
pub(super) async fn one_by_one(connection: &mut PgConnection, turns: &[Turn]) -> sqlx::Result<Vec<Outcome>> {
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
