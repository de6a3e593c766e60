//! Predictions: passes letters through the code of this release, without an effect.
//!
//! A letter of the transformer becomes a command, and Marketing's code reads the command. So a prediction follows the
//! message to its row.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound, Utc};
use contracts::{
    operations::is_probe_of,
    topology::{Queue, REQUEST_QUEUES, WEB_STORE_ERASE_CUSTOMER, WEB_STORE_REPLAY_CUSTOMERS},
};
use marketing::{customer::Customer, subscriptions::SUBSCRIPTIONS};
use messaging::{Incoming, Outgoing, Rejection};
use readers::{
    connections::work_queues,
    marketing::{Marketing, Row},
};
use serde::Serialize;
use serde_json::Value;
use transformer::flows::FLOWS;
use uuid::Uuid;
use web_store::{check_erase_request, check_replay_request};

use crate::{
    inventory::FoundLetter,
    letter::Letter,
    mask::{mask, mask_body, mask_quotes},
};

/// The result of today's code for one letter.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The letter.
    #[serde(flatten)]
    pub letter: Letter,
    /// Whether the message would be processed.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The command that the transformer would make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// The row that Marketing would then have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    /// The difference between this row and the row that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// The outcome of a message today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The message would be processed.
    Passes,
    /// The message would become a dead letter again.
    Fails {
        /// The code of the rejection.
        code: String,
        /// The queue whose consumer would reject it.
        at: String,
        /// The reason in words. It may quote personal data.
        explanation: String,
    },
}

/// A command that the transformer would send.
#[derive(Debug, Clone, Serialize)]
pub struct Command {
    /// The id, which follows from the event's id.
    pub message_id: Uuid,
    /// The type of the command.
    #[serde(rename = "type")]
    pub message_type: String,
    /// The body, as JSON.
    pub body: Value,
}

/// The effect on Marketing's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Change {
    /// The customer has no row.
    Insert,
    /// A higher version replaces the row.
    Update {
        /// The version of the row that is there.
        from_version: u32,
        /// The names of the columns that change.
        columns: Vec<&'static str>,
    },
    /// Marketing has this version or a higher one.
    Nothing {
        /// The version of the row that is there.
        version: u32,
    },
}

impl Prediction {
    /// Returns whether the message would be processed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.verdict == Verdict::Passes
    }

    /// Removes personal data.
    pub fn mask(&mut self) {
        if let Some(row) = &mut self.row {
            row.full_name = mask(&row.full_name);
            row.email_address = mask(&row.email_address);
        }
        if let Some(command) = &mut self.command {
            mask_body(&mut command.body);
        }
        if let Verdict::Fails { explanation, .. } = &mut self.verdict {
            *explanation = mask_quotes(explanation);
        }
    }
}

/// Returns the prediction of each letter, in order. Without Marketing's database, they do not compare rows.
///
/// # Errors
/// Returns an error if Marketing's database cannot be read.
pub async fn predict(
    marketing: Option<&mut Marketing>,
    letters: &[FoundLetter],
) -> anyhow::Result<Vec<Prediction>> {
    let effects: Vec<_> = letters.iter().map(|found| effect(&found.letter, &found.message)).collect();
    let customer = |effect: &Result<Effect, _>| effect.as_ref().ok()?.customer.as_ref().map(Customer::id);
    let ids: Vec<_> = effects.iter().filter_map(customer).collect();
    let has_rows = marketing.is_some();
    let mut rows = HashMap::new();
    if let Some(marketing) = marketing {
        for page in ids.chunks(1000) {
            let found = marketing.customers(page).await?;
            rows.extend(found.into_iter().map(|row| (row.customer_id.clone(), row)));
        }
    }
    let predictions = letters.iter().zip(effects).map(|(found, effect)| {
        let letter = found.letter.clone();
        match effect {
            Ok(Effect { command, customer }) => {
                let row = customer.as_ref().map(row_of);
                let compared = row.as_ref().filter(|_| has_rows);
                let change = compared.map(|row| change(row, rows.get(&row.customer_id)));
                Prediction { letter, verdict: Verdict::Passes, command, row, change }
            }
            Err((at, rejection)) => {
                let verdict = Verdict::Fails {
                    code: rejection.code().to_owned(),
                    at,
                    explanation: rejection.to_string(),
                };
                Prediction { letter, verdict, command: None, row: None, change: None }
            }
        }
    });
    Ok(predictions.collect())
}

/// Returns whether the code of this release would process the message of a letter.
#[must_use]
pub fn would_pass(letter: &Letter, message: &Incoming) -> bool {
    effect(letter, message).is_ok()
}

/// The effect of a message: a command, a version of a customer, or nothing that lasts, as for a probe.
#[derive(Debug, Default)]
struct Effect {
    command: Option<Command>,
    customer: Option<Customer>,
}

/// Returns the effect of a letter, or the rejection and the queue of the consumer that rejects it.
fn effect(letter: &Letter, message: &Incoming) -> Result<Effect, (String, Rejection)> {
    let name = &letter.queue;
    let original = message.original().received();
    let rejected = |queue: &str| {
        let queue = queue.to_owned();
        move |rejection| (queue, rejection)
    };
    let Some(flow) = FLOWS.iter().find(|flow| flow.queue.name == name) else {
        let customer = receive(name, &original).map_err(rejected(name))?;
        return Ok(Effect { command: None, customer });
    };
    let Some(command) = (flow.forward)(&original).map_err(rejected(name))? else {
        return Ok(Effect::default());
    };
    let receiver = work_queues().find(|queue| receives(queue, &command));
    let customer = match receiver {
        Some(queue) => {
            receive(queue.name, &Incoming::from_outgoing(&command)).map_err(rejected(queue.name))?
        }
        None => None,
    };
    let Outgoing { envelope, body, .. } = &command;
    let command = Command {
        message_id: envelope.message_id,
        message_type: envelope.message_type.to_string(),
        body: serde_json::from_slice(body).unwrap_or_default(),
    };
    Ok(Effect { command: Some(command), customer })
}

fn receives(queue: &Queue, command: &Outgoing) -> bool {
    let message_type = &command.envelope.message_type;
    queue.routing_key == message_type || is_probe_of(queue.routing_key, message_type)
}

/// Returns the customer that a receiver would save, or `None` if the message makes no row.
fn receive(queue: &str, message: &Incoming) -> Result<Option<Customer>, Rejection> {
    let subscription = SUBSCRIPTIONS.iter().find(|subscription| subscription.queue.name == queue);
    match subscription {
        Some(subscription) if is_probe_of(subscription.queue.routing_key, message.message_type()) => Ok(None),
        Some(subscription) => (subscription.parse)(message).map(Some),
        None if queue == WEB_STORE_REPLAY_CUSTOMERS.name => check_replay_request(message).map(|()| None),
        None if queue == WEB_STORE_ERASE_CUSTOMER.name => check_erase_request(message).map(|()| None),
        None => {
            debug_assert!(REQUEST_QUEUES.iter().all(|known| known.name != queue), "{queue}");
            Ok(None)
        }
    }
}

/// Returns the row as the database stores it: times in microseconds.
fn row_of(customer: &Customer) -> Row {
    let time = |time: DateTime<Utc>| time.naive_utc().trunc_subsecs(6);
    Row {
        customer_id: customer.id().to_string(),
        full_name: customer.full_name().to_owned(),
        email_address: customer.email_address().to_owned(),
        email_opt_in: customer.email_opt_in(),
        source: customer.source().to_owned(),
        customer_since: time(customer.since()),
        version: customer.version(),
        changed_at: customer.changed_at().map(time),
    }
}

/// Returns the effect of a row: the higher version stays.
fn change(new: &Row, current: Option<&Row>) -> Change {
    let Some(current) = current else { return Change::Insert };
    if new.version <= current.version {
        return Change::Nothing { version: current.version };
    }
    let columns = [
        ("full_name", new.full_name != current.full_name),
        ("email_address", new.email_address != current.email_address),
        ("email_opt_in", new.email_opt_in != current.email_opt_in),
        ("source", new.source != current.source),
        ("customer_since", new.customer_since != current.customer_since),
        ("version", true),
        ("changed_at", new.changed_at != current.changed_at),
    ];
    let changed = columns.into_iter().filter_map(|(column, changed)| changed.then_some(column));
    Change::Update { from_version: current.version, columns: changed.collect() }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{Change, Row, change};

    fn row(version: u32, full_name: &str) -> Row {
        Row {
            customer_id: "1".into(),
            full_name: full_name.into(),
            email_address: "a@example.org".into(),
            email_opt_in: false,
            source: "web-store".into(),
            customer_since: DateTime::UNIX_EPOCH.naive_utc(),
            version,
            changed_at: None,
        }
    }

    #[test]
    fn only_higher_version_changes_row() {
        assert_eq!(change(&row(1, "a"), None), Change::Insert);
        assert_eq!(change(&row(1, "a"), Some(&row(1, "b"))), Change::Nothing { version: 1 });
        assert_eq!(change(&row(1, "a"), Some(&row(3, "b"))), Change::Nothing { version: 3 });
        let columns = vec!["full_name", "version"];
        assert_eq!(change(&row(2, "a"), Some(&row(1, "b"))), Change::Update { from_version: 1, columns });
    }
}
