//! The facts about one customer, of all servers.

use std::collections::HashSet;

use dead_letters::journal::{Entry, SelectedLetter};
use readers::{
    marketing::{Marketing, ReceivedRow},
    web_store::{Erased, Replay, Version, WebStore},
};
use reconciliation::{QueueObservation, State};
use uuid::Uuid;

use super::{
    evidence::Evidence,
    letters::CustomerLetter,
    messages::command_id,
    operations::{self, Operation},
    servers::Servers,
};

/// The facts about one customer.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) customer: Uuid,
    /// The versions in their order. `None` if the Web Store's database cannot be read.
    pub(super) versions: Option<Vec<Version>>,
    /// Marketing's rows. `None` if its database cannot be read.
    pub(super) rows: Option<Vec<ReceivedRow>>,
    /// When the Web Store erased the customer.
    pub(super) erased: Option<Erased>,
    pub(super) letters: Vec<CustomerLetter>,
    pub(super) replays: Vec<Replay>,
    pub(super) operations: Vec<Operation>,
    /// The state by the rules of reconciliation, and the version that has it. `None` without evidence.
    pub(super) state: Option<(i64, State)>,
}

/// The facts that concern all customers.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The queues, if a message was followed.
    pub(super) queues: Vec<QueueObservation>,
    /// The names of the queues whose consumers hold messages and settle none.
    pub(super) stalled: Vec<&'static str>,
    /// Whether Marketing's database is read-only. `None` if it cannot be read.
    pub(super) is_read_only: Option<bool>,
}

impl History {
    /// Returns the newest version.
    pub(super) fn newest(&self) -> Option<&Version> {
        self.versions.as_ref()?.last()
    }

    /// Returns the name of the message of a version: whether it is the event or the command.
    pub(super) fn version_of(&self, message: Uuid) -> Option<(i64, &'static str)> {
        self.versions.iter().flatten().find_map(|version| {
            let is_command = command_id(version.message_id, version.changed_at.is_none()) == Some(message);
            let kind = if is_command { "command" } else { "event" };
            (is_command || version.message_id == message).then_some((version.number, kind))
        })
    }
}

/// Reads the facts about customers, in the order of the messages' way. The letters without a customer are returned too.
pub(super) async fn read(
    servers: &mut Servers<'_>,
    customers: &[Uuid],
    evidence: Evidence,
) -> (Vec<History>, Environment, Vec<CustomerLetter>) {
    let Evidence { states, queues, stalled, letters } = evidence;
    let versions = async |web_store: &mut WebStore| web_store.versions(customers).await;
    let versions = servers.in_web_store(versions).await;
    let erased = async |web_store: &mut WebStore| web_store.erased(customers).await;
    let erased = servers.in_web_store(erased).await.unwrap_or_default();
    let rows = async |marketing: &mut Marketing| marketing.received(customers).await;
    let rows = servers.in_marketing(rows).await;
    let is_read_only = async |marketing: &mut Marketing| marketing.is_read_only().await;
    let is_read_only = servers.in_marketing(is_read_only).await;
    let environment = Environment { queues, stalled, is_read_only };
    let entries = operations::read_journal(servers).await;
    let mut histories = Vec::with_capacity(customers.len());
    for customer in customers.iter().copied() {
        let of_customer = |version: &&Version| version.customer_id == customer;
        let id = customer.to_string();
        let mut history = History {
            customer,
            versions: versions.as_ref().map(|all| all.iter().filter(of_customer).cloned().collect()),
            rows: rows
                .as_ref()
                .map(|rows| rows.iter().filter(|found| found.row.customer_id == id).cloned().collect()),
            erased: erased.iter().find(|one| one.customer_id == customer).copied(),
            letters: letters.iter().filter(|one| one.customer_id == Some(customer)).cloned().collect(),
            state: states.get(&customer).copied(),
            ..History::default()
        };
        history.replays = read_replays(servers, &history).await;
        history.operations = operations_of(&history, &entries);
        histories.push(history);
    }
    let known: HashSet<_> = customers.iter().collect();
    let other = letters.into_iter().filter(|one| one.customer_id.is_none_or(|id| !known.contains(&id)));
    (histories, environment, other.collect())
}

async fn read_replays(servers: &mut Servers<'_>, history: &History) -> Vec<Replay> {
    let Some(newest) = history.newest() else { return Vec::new() };
    let (customer, registered, changed) = (history.customer, newest.registered_at, newest.since());
    let read = async |web_store: &mut WebStore| web_store.replays(customer, registered, changed).await;
    servers.in_web_store(read).await.unwrap_or_default()
}

/// Returns the operations that selected a letter of the customer, by the id of the letter or of its message.
fn operations_of(history: &History, entries: &[Entry]) -> Vec<Operation> {
    let letters: HashSet<_> = history.letters.iter().map(|one| one.letter.id).collect();
    let messages: HashSet<_> = history
        .versions
        .iter()
        .flatten()
        .flat_map(|version| {
            let event = version.message_id;
            [Some(event), command_id(event, version.changed_at.is_none())]
        })
        .flatten()
        .map(|id| id.to_string())
        .collect();
    let is_own = |selected: &SelectedLetter| {
        let is_message = selected.message_id.as_ref().is_some_and(|id| messages.contains(id));
        is_message || letters.contains(&selected.letter)
    };
    operations::of_letters(entries, is_own)
}
