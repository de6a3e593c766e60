//! The current location of a customer's newest version, and the rules by which the facts show it.

use chrono::{DateTime, Utc};
use dead_letters::journal::Action;
use readers::{
    marketing::ReceivedRow,
    web_store::{Erased, Outbox, Version},
};
use reconciliation::QueueObservation;
use serde::Serialize;

use super::{
    history::{Environment, History},
    letters::CustomerLetter,
    messages::queues,
    operations::Operation,
};

/// The state of a customer, as the output names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The Web Store has no such customer.
    NotRegistered,
    /// The Web Store has erased the customer.
    Erased,
    /// Marketing has forgotten the customer at an erasure, and the Web Store was restored.
    Forgotten,
    InOutbox,
    /// The event is in the outbox, and the broker has refused it.
    Parked,
    OnTheWay,
    /// A consumer holds the message and does not settle it.
    Held,
    DeadLettered,
    /// An operator discarded the dead letter.
    Discarded,
    Arrived,
    /// Marketing has an older version, and no message is on the way.
    Behind,
    /// Marketing has a newer version.
    Ahead,
    /// Marketing has no row, and no message is on the way.
    Missing,
    /// Marketing has several rows.
    Duplicated,
    /// A server that would show the location cannot be read.
    Unknown,
}

/// The location of a version, with the facts that its sentence needs.
#[derive(Debug)]
pub(super) enum Location<'a> {
    /// Marketing may still have a row, and a message may be a letter.
    NotRegistered(Option<&'a ReceivedRow>, Option<&'a CustomerLetter>),
    /// The Web Store has erased the customer. Marketing may still have a row, which may be forgotten, and a message may be
    /// a letter.
    Erased(Erased, Option<&'a ReceivedRow>, Option<&'a CustomerLetter>),
    /// The Web Store has the customer again, after a restore, and Marketing has forgotten it.
    Forgotten(&'a Version, &'a ReceivedRow),
    /// The event of a version waits in the outbox.
    Outbox(&'a Version, Outbox),
    /// The queues that may hold the message.
    OnTheWay(&'a Version, Vec<&'a QueueObservation>),
    /// The queue whose consumer holds the message.
    Held(&'a Version, &'a QueueObservation),
    DeadLetter(&'a Version, &'a CustomerLetter),
    /// The kept letter, and the operation that keeps it if the journal has it.
    Discarded(&'a Version, &'a CustomerLetter, Option<&'a Operation>),
    Arrived(&'a Version, &'a ReceivedRow),
    /// Marketing's older row, or none: the state is behind or missing.
    Lost(&'a Version, Option<&'a ReceivedRow>),
    Ahead(&'a Version, &'a ReceivedRow),
    Duplicated(&'a Version, &'a [ReceivedRow]),
    Unknown(Option<&'a Version>),
}

impl<'a> Location<'a> {
    /// Returns the location of a customer's newest version.
    pub(super) fn of(history: &'a History, environment: &'a Environment) -> Self {
        let rows = history.rows.as_deref();
        let row = rows.and_then(<[_]>::first);
        let newest = match (&history.versions, history.newest()) {
            (None, _) => return Self::Unknown(None),
            (Some(_), None) => {
                let letter = history.letters.first();
                return match history.erased {
                    Some(erased) => Self::Erased(erased, row, letter),
                    None => Self::NotRegistered(row, letter),
                };
            }
            (Some(_), Some(newest)) => newest,
        };
        let state = history.state.filter(|(version, _)| *version == newest.number).map(|(_, state)| state);
        match (rows, row) {
            (Some(rows @ [_, _, ..]), _) => return Self::Duplicated(newest, rows),
            (_, Some(row)) if row.row.is_forgotten() => return Self::Forgotten(newest, row),
            (_, Some(row)) if i64::from(row.row.version) == newest.number => {
                return Self::Arrived(newest, row);
            }
            _ => {}
        }
        if let Some(outbox) = newest.outbox() {
            return Self::Outbox(newest, outbox);
        }
        if let (Some(reconciliation::State::Ahead), Some(row)) = (state, row) {
            return Self::Ahead(newest, row);
        }
        if let Some(letter) = letter_of(history, newest, false) {
            return Self::DeadLetter(newest, letter);
        }
        match state {
            Some(reconciliation::State::Missing | reconciliation::State::Behind) => {
                discarded(history, newest).unwrap_or(Self::Lost(newest, row))
            }
            Some(_) => earlier_event(history).unwrap_or_else(|| on_the_way(newest, environment)),
            // The customer has changed meanwhile.
            None if history.state.is_some() => on_the_way(newest, environment),
            None => held_without_database(newest, environment),
        }
    }

    /// Returns the state for the output.
    pub(super) fn state(&self) -> State {
        match self {
            Self::NotRegistered(..) => State::NotRegistered,
            Self::Erased(..) => State::Erased,
            Self::Forgotten(..) => State::Forgotten,
            Self::Outbox(_, outbox) if outbox.retry_at.is_some() => State::Parked,
            Self::Outbox(..) => State::InOutbox,
            Self::OnTheWay(..) => State::OnTheWay,
            Self::Held(..) => State::Held,
            Self::DeadLetter(..) => State::DeadLettered,
            Self::Discarded(..) => State::Discarded,
            Self::Arrived(..) => State::Arrived,
            Self::Lost(_, Some(_)) => State::Behind,
            Self::Lost(_, None) => State::Missing,
            Self::Ahead(..) => State::Ahead,
            Self::Duplicated(..) => State::Duplicated,
            Self::Unknown(_) => State::Unknown,
        }
    }

    /// Returns the version, which is older than the newest one if its event must leave the outbox first.
    pub(super) fn version(&self) -> Option<&'a Version> {
        match self {
            Self::NotRegistered(..) | Self::Erased(..) => None,
            Self::Unknown(version) => *version,
            Self::Outbox(version, _)
            | Self::OnTheWay(version, _)
            | Self::Held(version, _)
            | Self::DeadLetter(version, _)
            | Self::Discarded(version, ..)
            | Self::Arrived(version, _)
            | Self::Forgotten(version, _)
            | Self::Lost(version, _)
            | Self::Ahead(version, _)
            | Self::Duplicated(version, _) => Some(version),
        }
    }

    /// Returns the time since which the version is there, as far as a server stores it.
    pub(super) fn since(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Outbox(_, outbox) => Some(outbox.queued_at),
            Self::Erased(erased, ..) => Some(erased.erased_at),
            Self::DeadLetter(_, letter) => letter.letter.rejected_at,
            Self::Discarded(_, _, operation) => operation.map(|operation| operation.at),
            // Marketing stores the time of the row, and not that of an update.
            Self::Arrived(version, row) if version.changed_at.is_none() => Some(row.received_at.and_utc()),
            Self::OnTheWay(version, _) | Self::Held(version, _) | Self::Lost(version, _) => {
                Some(version.since())
            }
            _ => None,
        }
    }

    /// Returns whether a person must act. Waiting alone is no reason.
    pub(super) fn needs_person(&self) -> bool {
        match self {
            Self::Arrived(..) => false,
            Self::Outbox(_, outbox) => outbox.retry_at.is_some(),
            // A consumer that does not report is frozen.
            Self::OnTheWay(_, queues) => {
                queues.iter().any(|queue| queue.consumers == 0 || queue.consumers > queue.reporting)
            }
            Self::Erased(_, row, letter) => letter.is_some() || row.is_none_or(|row| !row.row.is_forgotten()),
            // Marketing's own customers are not registered in the Web Store.
            Self::NotRegistered(row, letter) => {
                letter.is_some() || row.is_some_and(|row| row.row.source == "web-store")
            }
            _ => true,
        }
    }
}

/// Returns the newest dead letter, or kept letter, that explains the version.
fn letter_of<'a>(history: &'a History, version: &Version, is_kept: bool) -> Option<&'a CustomerLetter> {
    let letters = history.letters.iter().filter(|letter| letter.is_kept == is_kept);
    letters.filter(|letter| letter.explains(version.number)).max_by_key(|letter| letter.letter.rejected_at)
}

/// Returns the location of a discarded letter. The original of an edited letter is no location, because the edited
/// message was sent.
fn discarded<'a>(history: &'a History, version: &'a Version) -> Option<Location<'a>> {
    let letter = letter_of(history, version, true)?;
    let operation = history.operations.iter().find(|operation| Some(operation.id) == letter.kept_by);
    let is_discard = operation.is_none_or(|operation| operation.action == Action::Discard);
    is_discard.then_some(Location::Discarded(version, letter, operation))
}

/// Returns the location of an earlier version, if its event waits in the outbox and Marketing has no row. The relay may
/// send it first.
fn earlier_event(history: &History) -> Option<Location<'_>> {
    if history.rows.as_ref().is_some_and(|rows| !rows.is_empty()) {
        return None;
    }
    let mut versions = history.versions.iter().flatten();
    versions.find_map(|version| Some(Location::Outbox(version, version.outbox()?)))
}

/// Returns the queues on the way of a version that may hold its message. A stalled consumer holds it if its queue is the
/// only one, and if no message waits there.
fn on_the_way<'a>(version: &'a Version, environment: &'a Environment) -> Location<'a> {
    let queues: Vec<_> = candidates(version, environment).collect();
    match queues[..] {
        [queue] if environment.stalled.contains(&queue.queue) && queue.ready == 0 => {
            Location::Held(version, queue)
        }
        _ => Location::OnTheWay(version, queues),
    }
}

/// Returns that Marketing holds the message, if its database cannot be read and its consumer is stalled. Without this
/// sign, the location is unknown.
fn held_without_database<'a>(version: &'a Version, environment: &'a Environment) -> Location<'a> {
    let last = candidates(version, environment).last();
    let is_held = |queue: &&QueueObservation| {
        let is_stalled = environment.stalled.contains(&queue.queue) && queue.queue.starts_with("marketing.");
        is_stalled && environment.is_read_only.is_none()
    };
    last.filter(is_held).map_or(Location::Unknown(Some(version)), |queue| Location::Held(version, queue))
}

/// Returns the queues on the way of a version that may hold a message.
fn candidates<'a>(
    version: &Version,
    environment: &'a Environment,
) -> impl Iterator<Item = &'a QueueObservation> + use<'a> {
    let names: Vec<_> = queues(version.changed_at.is_none()).map(|queue| queue.name).collect();
    let queues = environment.queues.iter().filter(move |queue| names.contains(&queue.queue));
    queues.filter(|queue| queue.may_hold_messages())
}

#[cfg(test)]
mod tests {
    use contracts::topology::MARKETING_CREATE_CUSTOMER;
    use readers::web_store::Version;
    use reconciliation::QueueObservation;

    use super::{Location, State};
    use crate::find::history::{Environment, History};

    fn history(version: i64, state: Option<(i64, reconciliation::State)>) -> History {
        let versions = Some(vec![Version::registered(version)]);
        History { versions, rows: Some(Vec::new()), state, ..History::default() }
    }

    fn environment(ready: u32, stalled: bool) -> Environment {
        let queue = MARKETING_CREATE_CUSTOMER.name;
        let observation =
            QueueObservation { queue, ready, consumers: 1, reporting: 1, in_flight: 1, settled: 7 };
        let stalled = if stalled { vec![queue] } else { Vec::new() };
        Environment { queues: vec![observation], stalled, is_read_only: Some(false) }
    }

    #[test]
    fn stalled_consumer_of_empty_queue_holds_message() {
        let on_the_way = history(1, Some((1, reconciliation::State::OnTheWay)));
        for (ready, stalled, expected) in
            [(0, true, State::Held), (0, false, State::OnTheWay), (5, true, State::OnTheWay)]
        {
            let environment = environment(ready, stalled);
            assert_eq!(Location::of(&on_the_way, &environment).state(), expected);
        }
    }

    #[test]
    fn version_without_evidence_is_unknown_and_newer_one_is_on_the_way() {
        let environment = environment(0, false);
        let missing = reconciliation::State::Missing;
        for (state, expected) in [
            (None, State::Unknown),
            (Some((1, missing)), State::OnTheWay),
            (Some((2, missing)), State::Missing),
        ] {
            assert_eq!(Location::of(&history(2, state), &environment).state(), expected);
        }
        let unreadable = History { versions: None, ..history(2, Some((2, missing))) };
        assert_eq!(Location::of(&unreadable, &environment).state(), State::Unknown);
    }
}
