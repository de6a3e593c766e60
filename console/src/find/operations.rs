//! The operations of the journal that concern letters of a customer.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use dead_letters::journal::{Action, Entry, Event, Journal, SelectedLetter};
use readers::connections::Brokers;
use serde::Serialize;
use uuid::Uuid;

use super::servers::Servers;

/// An operation of an operator, with the letters of one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Operation {
    #[serde(rename = "operation")]
    pub(super) id: Uuid,
    pub(super) action: Action,
    pub(super) operator: String,
    pub(super) at: DateTime<Utc>,
    pub(super) why: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) letters: Vec<MovedLetter>,
}

/// The state of an operation. It counts the letters of all customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The operation runs, or was interrupted.
    Unfinished,
    Cancelled,
    Finished,
}

/// A letter that an operation selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MovedLetter {
    /// The queue that had the letter.
    pub(super) queue: String,
    #[serde(flatten)]
    pub(super) letter: SelectedLetter,
}

/// Returns the entries of the journal. A journal that does not exist has none.
pub(super) async fn read_journal(servers: &mut Servers<'_>) -> Vec<Entry> {
    let broker = servers.sources.connections.brokers.source();
    let journal = Journal::read_existing(broker).await.with_context(|| Brokers::remedy("BROKER_URL"));
    let journal = journal.inspect_err(|error| servers.unreadable.note(error)).ok().flatten();
    journal.map(|journal| journal.entries().cloned().collect()).unwrap_or_default()
}

/// Returns the operations with letters for which `is_own` holds, oldest first.
pub(super) fn of_letters(entries: &[Entry], is_own: impl Fn(&SelectedLetter) -> bool) -> Vec<Operation> {
    let mut operations = BTreeMap::new();
    for Entry { operation: id, event, operator, at, .. } in entries {
        if let Event::Started { action, why, .. } = event {
            let (operator, why) = (operator.clone(), why.clone());
            let (outcome, letters) = (Outcome::Unfinished, Vec::new());
            operations.insert(
                *id,
                Operation { id: *id, action: *action, operator, at: *at, why, outcome, letters },
            );
        }
        let Some(operation) = operations.get_mut(id) else { continue };
        match event {
            Event::Selected { queue, letters } => {
                let own = letters.iter().filter(|letter| is_own(letter)).cloned();
                operation.letters.extend(own.map(|letter| MovedLetter { queue: queue.clone(), letter }));
            }
            Event::Finished { .. } => operation.outcome = Outcome::Finished,
            Event::Cancelled => operation.outcome = Outcome::Cancelled,
            _ => {}
        }
    }
    operations.into_values().filter(|operation| !operation.letters.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use dead_letters::journal::{Action, Entry, Event, SelectedLetter};
    use uuid::Uuid;

    use super::{Outcome, of_letters};

    #[test]
    fn only_operations_with_own_letters_are_returned() {
        let entry = |operation: u128, event| Entry {
            previous: String::new(),
            at: Utc::now(),
            operator: "ann".to_owned(),
            operation: Uuid::from_u128(operation),
            event,
        };
        let start =
            |action| Event::Started { action, selection: String::new(), letters: 1, rate: None, why: None };
        let letter = |message: &str| SelectedLetter {
            letter: "0".repeat(32).parse().unwrap(),
            message_id: Some(message.to_owned()),
        };
        let select = |message| Event::Selected { queue: "q".to_owned(), letters: vec![letter(message)] };
        let entries = [
            entry(1, start(Action::Retry)),
            entry(1, select("own")),
            entry(2, start(Action::Discard)),
            entry(2, select("other")),
            entry(1, Event::Finished { moved: 1, absent: 0 }),
            entry(3, start(Action::Discard)),
            entry(3, select("own")),
        ];
        let operations = of_letters(&entries, |letter| letter.message_id.as_deref() == Some("own"));
        let outcomes: Vec<_> = operations.iter().map(|one| (one.id.as_u128(), one.outcome)).collect();
        assert_eq!(outcomes, [(1, Outcome::Finished), (3, Outcome::Unfinished)]);
    }
}
