//! The report about customers.

use chrono::{DateTime, Utc};
use dead_letters::mask::mask;
use readers::{
    marketing::ReceivedRow,
    web_store::{Outbox, Replay, Version},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    history::{Environment, History},
    letters::CustomerLetter,
    location::{Location, State},
    messages::{command_id, event_type},
    operations::Operation,
    sentence::Sentence,
};

/// The report of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) customers: Vec<CustomerReport>,
    /// Letters with the message of the search that name no customer.
    pub(crate) letters: Vec<CustomerLetter>,
    /// Whether more customers have the e-mail address than the report contains.
    pub(crate) is_truncated: bool,
    /// The servers that could not be read, each with the reason.
    pub(crate) unreadable: Vec<String>,
}

/// The history and the location of one customer.
#[derive(Debug, Serialize)]
pub(crate) struct CustomerReport {
    pub(crate) customer_id: Uuid,
    pub(crate) state: State,
    /// The version that the state is about.
    version: Option<i64>,
    since: Option<DateTime<Utc>>,
    pub(crate) needs_person: bool,
    pub(super) sentence: String,
    next: Option<String>,
    /// The message of the search.
    message: Option<MessageReport>,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    /// `None` if the Web Store's database cannot be read.
    pub(super) versions: Option<Vec<VersionReport>>,
    pub(crate) dead_letters: Vec<CustomerLetter>,
    pub(crate) kept_letters: Vec<CustomerLetter>,
    /// `None` if Marketing's database cannot be read.
    pub(super) marketing: Option<Vec<RowReport>>,
    pub(super) replays: Vec<Replay>,
    pub(super) operations: Vec<Operation>,
}

/// The message that the operator searched for.
#[derive(Debug, Serialize)]
struct MessageReport {
    message_id: Uuid,
    /// `event` or `command`.
    kind: &'static str,
    version: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct VersionReport {
    pub(super) version: i64,
    pub(super) at: DateTime<Utc>,
    #[serde(rename = "type")]
    event_type: &'static str,
    /// The id of the event.
    pub(super) message_id: Uuid,
    /// The id of the command that the event becomes.
    command_id: Option<Uuid>,
    name: String,
    marketing_consent: bool,
    pub(super) outbox: Option<Outbox>,
}

#[derive(Debug, Serialize)]
pub(super) struct RowReport {
    pub(super) version: u32,
    /// Whether Marketing has forgotten the customer, so that the row has no details.
    pub(super) is_forgotten: bool,
    /// The time of the row, which an update keeps.
    pub(super) received_at: DateTime<Utc>,
    pub(super) changed_at: Option<DateTime<Utc>>,
    pub(super) source: String,
    full_name: String,
    email_address: String,
    email_opt_in: bool,
}

impl CustomerReport {
    pub(super) fn new(history: &History, environment: &Environment, message: Option<Uuid>) -> Self {
        let location = Location::of(history, environment);
        let Sentence { place, next } = Sentence::of(&location, history, environment);
        let next_step = next.as_ref().map(|next| format!(" Next: {next}")).unwrap_or_default();
        let row = history.rows.iter().flatten().find(|found| !found.row.is_forgotten());
        let newest = history.newest();
        let message = message.and_then(|message_id| {
            let (version, kind) = history.version_of(message_id)?;
            Some(MessageReport { message_id, kind, version })
        });
        let letters = history.letters.iter().cloned();
        let (kept_letters, dead_letters) = letters.partition(|letter| letter.is_kept);
        Self {
            customer_id: history.customer,
            state: location.state(),
            version: location.version().map(|version| version.number),
            since: location.since(),
            needs_person: location.needs_person(),
            sentence: format!("{place}.{next_step}"),
            next,
            message,
            name: newest.map(|version| version.name.clone()).or(row.map(|row| row.row.full_name.clone())),
            email: newest
                .map(|version| version.email.clone())
                .or(row.map(|row| row.row.email_address.clone())),
            versions: history.versions.as_ref().map(|all| all.iter().map(VersionReport::new).collect()),
            dead_letters,
            kept_letters,
            marketing: history.rows.as_ref().map(|rows| rows.iter().map(RowReport::new).collect()),
            replays: history.replays.clone(),
            operations: history.operations.clone(),
        }
    }

    /// Returns whether no server has a fact about the customer.
    pub(crate) fn is_absent(&self) -> bool {
        let has_letters = !self.dead_letters.is_empty() || !self.kept_letters.is_empty();
        self.state == State::NotRegistered && self.name.is_none() && !has_letters
    }

    /// Returns the name of the state.
    pub(crate) fn state_name(&self) -> String {
        let name = serde_json::to_value(self.state).ok();
        name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Returns the place of the newest version as a sentence, and the next step.
    pub(crate) fn place_and_next(&self) -> (&str, Option<&str>) {
        let next = self.next.as_deref();
        let place = next.and_then(|next| self.sentence.strip_suffix(next)?.strip_suffix(" Next: "));
        (place.unwrap_or(&self.sentence), next)
    }

    /// Returns a line about the message of the search.
    pub(crate) fn message(&self) -> Option<String> {
        let MessageReport { message_id, kind, version } = self.message.as_ref()?;
        Some(format!("message {message_id} is the {kind} of version {version}"))
    }

    fn mask(&mut self) {
        for text in self.name.iter_mut().chain(&mut self.email) {
            *text = mask(text);
        }
        for version in self.versions.iter_mut().flatten() {
            version.name = mask(&version.name);
        }
        for row in self.marketing.iter_mut().flatten() {
            row.full_name = mask(&row.full_name);
            row.email_address = mask(&row.email_address);
        }
    }
}

impl VersionReport {
    fn new(version: &Version) -> Self {
        let is_registration = version.changed_at.is_none();
        Self {
            version: version.number,
            at: version.since(),
            event_type: event_type(is_registration),
            message_id: version.message_id,
            command_id: command_id(version.message_id, is_registration),
            name: version.name.clone(),
            marketing_consent: version.marketing_consent,
            outbox: version.outbox(),
        }
    }
}

impl RowReport {
    fn new(ReceivedRow { row, received_at }: &ReceivedRow) -> Self {
        Self {
            version: row.version,
            is_forgotten: row.is_forgotten(),
            received_at: received_at.and_utc(),
            changed_at: row.changed_at.map(|at| at.and_utc()),
            source: row.source.clone(),
            full_name: row.full_name.clone(),
            email_address: row.email_address.clone(),
            email_opt_in: row.email_opt_in,
        }
    }
}

impl Report {
    /// Replaces personal data by its length.
    pub(crate) fn mask(&mut self) {
        self.customers.iter_mut().for_each(CustomerReport::mask);
    }
}
