//! The dead letters and the kept letters of customers.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use dead_letters::{
    inventory,
    letter::{KEPT_BY, Letter},
};
use messaging::Incoming;
use readers::{connections::Brokers, web_store::Version};
use reconciliation::{DeadLetter, may_contain};
use serde::Serialize;
use uuid::Uuid;

use super::{messages::command_id, servers::Unreadable};

/// A letter that concerns a customer of the search.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CustomerLetter {
    #[serde(flatten)]
    pub(crate) letter: Letter,
    /// `None` if neither the id nor the body of the message leads to a customer.
    pub(super) customer_id: Option<Uuid>,
    /// The version of the customer in the message, or `None` if the message does not show it.
    pub(super) version: Option<i64>,
    /// The operation that keeps the letter. `None` for a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept_by: Option<Uuid>,
    #[serde(skip)]
    pub(super) is_kept: bool,
}

impl CustomerLetter {
    /// Returns the letter as reconciliation sees it.
    pub(super) fn as_dead_letter(&self) -> Option<DeadLetter<'_>> {
        let customer = self.customer_id.filter(|_| !self.is_kept)?;
        Some(DeadLetter { customer, version: self.version, reason: &self.letter.reason })
    }

    /// Returns whether the letter may contain this version of its customer.
    pub(super) fn explains(&self, version: i64) -> bool {
        may_contain(self.version, version)
    }
}

/// The customers and the messages whose letters are searched.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    customers: HashSet<Uuid>,
    /// Messages of unknown customers.
    messages: HashSet<Uuid>,
    /// The customer and the version of each message.
    versions: HashMap<Uuid, (Uuid, i64)>,
}

impl Wanted {
    /// Returns the letters of customers, by their ids and by the ids of their messages.
    pub(super) fn customers(customers: &[Uuid], versions: &[Version]) -> Self {
        let mut messages = HashMap::new();
        for version in versions {
            let value = (version.customer_id, version.number);
            messages.insert(version.message_id, value);
            messages.extend(
                command_id(version.message_id, version.changed_at.is_none()).map(|command| (command, value)),
            );
        }
        let customers = customers.iter().copied().collect();
        Self { customers, messages: HashSet::new(), versions: messages }
    }

    /// Adds the letters of one message.
    pub(super) fn with_message(mut self, message: Uuid) -> Self {
        self.messages.insert(message);
        self
    }

    /// Returns the letter if it is wanted.
    fn select(&self, letter: Letter, message: &Incoming) -> Option<CustomerLetter> {
        let message_id = letter.message_id.as_deref().and_then(|id| id.parse::<Uuid>().ok());
        let known = message_id.and_then(|id| self.versions.get(&id));
        let (customer_id, version) = match (known, DeadLetter::of(message)) {
            (Some((customer, version)), _) => (Some(*customer), Some(*version)),
            (None, Some(letter)) => (Some(letter.customer), letter.version),
            (None, None) => (None, None),
        };
        let is_wanted = customer_id.is_some_and(|customer| self.customers.contains(&customer))
            || message_id.is_some_and(|id| self.messages.contains(&id));
        let kept_by = message.header(KEPT_BY).and_then(|operation| operation.parse().ok());
        is_wanted.then_some(CustomerLetter { letter, customer_id, version, kept_by, is_kept: false })
    }
}

/// Returns the wanted letters of all queues, dead letters first, and whether all queues were read. After an error, the
/// other queues of the broker are left out.
pub(super) async fn read(
    brokers: &Brokers,
    wanted: &Wanted,
    unreadable: &mut Unreadable,
) -> (Vec<CustomerLetter>, bool) {
    let mut found = Vec::new();
    let mut failed: Vec<&str> = Vec::new();
    for (is_kept, places) in
        [(false, inventory::dead_letters(brokers)), (true, inventory::kept_letters(brokers))]
    {
        for place in places {
            let variable = brokers.variable(place.broker);
            if failed.contains(&variable) {
                continue;
            }
            let visit = |letter, message: &Incoming| {
                found.extend(
                    wanted.select(letter, message).map(|letter| CustomerLetter { is_kept, ..letter }),
                );
            };
            if let Err(error) = place.visit(visit).await.with_context(|| Brokers::remedy(variable)) {
                unreadable.note(&error);
                failed.push(variable);
            }
        }
    }
    (found, failed.is_empty())
}
