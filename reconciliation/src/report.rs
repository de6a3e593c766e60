//! The result of reconciliation, as a table and as JSON.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use uuid::Uuid;

use crate::flow::QueueObservation;

/// The number of dead letters by queue and reason.
pub type DeadLetterCounts = BTreeMap<String, BTreeMap<String, u64>>;

/// The maximum of ids in each list of a report. `--ids` prints all ids.
const MAX_LISTED_IDS: usize = 100_000;

/// The key of [`Report::on_the_way`] if more than one queue may hold a message.
const SEVERAL_QUEUES: &str = "several-queues";

/// The state of a customer of the Web Store, or of one that it has erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum State {
    /// Marketing has exactly one row, with the Web Store's version.
    Arrived,
    /// The event of the version is in the outbox.
    InOutbox,
    /// The message may be in a queue or in a service.
    OnTheWay,
    /// The message of the version is a dead letter.
    DeadLettered,
    /// Marketing has no row, and no message is on the way.
    Missing,
    /// Marketing has an older version, and no message is on the way.
    Behind,
    /// Marketing has a newer version. The Web Store was restored from an older backup.
    Ahead,
    /// Marketing has more than one row.
    Duplicated,
    /// Marketing has forgotten the customer at an erasure. The Web Store was restored from an older backup.
    Forgotten,
    /// The Web Store has erased the customer, and Marketing still has the details.
    NotForgotten,
}

impl State {
    /// Returns the name, as in the option `--ids`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::InOutbox => "in-outbox",
            Self::OnTheWay => "on-the-way",
            Self::DeadLettered => "dead-lettered",
            Self::Missing => "missing",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
            Self::Duplicated => "duplicated",
            Self::Forgotten => "forgotten",
            Self::NotForgotten => "not-forgotten",
        }
    }
}

/// The states of all customers of the Web Store. Each number counts customers unless its field says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All customers.
    pub customers: u64,
    /// Customers with exactly one row in Marketing, in the Web Store's version.
    pub arrived: u64,
    /// Customers whose event is in the outbox.
    pub in_outbox: u64,
    /// Customers whose message may be in a queue or in a service. The key is the queue's name if only one queue or its
    /// consumers may hold messages, and otherwise `several-queues`.
    pub on_the_way: BTreeMap<&'static str, u64>,
    /// Customers whose message is a dead letter, by reason.
    pub dead_lettered: BTreeMap<String, u64>,
    /// Customers without a row and without a message.
    pub missing: u64,
    /// Customers with an older version in Marketing and without a message.
    pub behind: u64,
    /// Customers with a newer version in Marketing.
    pub ahead: u64,
    /// Customers with more than one row in Marketing.
    pub doubled: u64,
    /// Customers that Marketing has forgotten, because they were erased before the Web Store was restored.
    pub forgotten: u64,
    /// Customers that the Web Store has erased, and that Marketing still has.
    pub not_forgotten: u64,
    /// The ids of the missing customers, up to 100,000.
    pub missing_ids: Vec<Uuid>,
    /// The ids of the customers that are behind, up to 100,000.
    pub behind_ids: Vec<Uuid>,
    /// The ids of the customers that are ahead, up to 100,000.
    pub ahead_ids: Vec<Uuid>,
    /// The ids of the duplicated customers, up to 100,000.
    pub doubled_ids: Vec<Uuid>,
    /// The ids of the forgotten customers, up to 100,000.
    pub forgotten_ids: Vec<Uuid>,
    /// The ids of the customers that are not forgotten, up to 100,000.
    pub not_forgotten_ids: Vec<Uuid>,
    /// Rows of Marketing whose source is the Web Store, but whose customer does not exist there.
    pub unknown_rows: u64,
    /// All dead letters, including those that concern no customer of the Web Store.
    pub dead_letters: DeadLetterCounts,
    /// The queues at the end.
    pub queues: Vec<QueueObservation>,
}

impl Report {
    /// Returns whether each customer has arrived, is in the outbox, or is on the way, and each erased one is forgotten.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let lost =
            self.missing + self.behind + self.ahead + self.doubled + self.forgotten + self.not_forgotten;
        lost == 0 && self.dead_lettered.is_empty()
    }

    /// Counts a customer. `reason` is that of its dead letter.
    pub(super) fn add(&mut self, id: Uuid, state: State, reason: Option<String>) {
        let (count, ids) = match state {
            State::Arrived => return self.arrived += 1,
            State::InOutbox => return self.in_outbox += 1,
            State::OnTheWay => {
                let place = self.place_on_the_way();
                return *self.on_the_way.entry(place).or_default() += 1;
            }
            State::DeadLettered => {
                return *self.dead_lettered.entry(reason.unwrap_or_default()).or_default() += 1;
            }
            State::Missing => (&mut self.missing, &mut self.missing_ids),
            State::Behind => (&mut self.behind, &mut self.behind_ids),
            State::Ahead => (&mut self.ahead, &mut self.ahead_ids),
            State::Duplicated => (&mut self.doubled, &mut self.doubled_ids),
            State::Forgotten => (&mut self.forgotten, &mut self.forgotten_ids),
            State::NotForgotten => (&mut self.not_forgotten, &mut self.not_forgotten_ids),
        };
        *count += 1;
        if ids.len() < MAX_LISTED_IDS {
            ids.push(id);
        }
    }

    /// Returns the only queue that may hold messages.
    fn place_on_the_way(&self) -> &'static str {
        let mut queues = self.queues.iter().filter(|queue| queue.may_hold_messages());
        match (queues.next(), queues.next()) {
            (Some(queue), None) => queue.queue,
            _ => SEVERAL_QUEUES,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line =
            |state: &str, detail: &str, count: u64| writeln!(f, "{state:<16}{detail:<38}{count:>12}");
        line("arrived", "", self.arrived)?;
        line("in the outbox", "", self.in_outbox)?;
        if self.on_the_way.is_empty() {
            line("on the way", "", 0)?;
        }
        for (queue, count) in &self.on_the_way {
            line("on the way", queue, *count)?;
        }
        for (reason, count) in &self.dead_lettered {
            line("dead-lettered", reason, *count)?;
        }
        line("missing", "", self.missing)?;
        line("behind", "", self.behind)?;
        line("ahead", "", self.ahead)?;
        line("duplicated", "", self.doubled)?;
        if self.forgotten > 0 {
            line("forgotten", "erased before a restore", self.forgotten)?;
        }
        if self.not_forgotten > 0 {
            line("not forgotten", "erased, and still in Marketing", self.not_forgotten)?;
        }
        line("all customers", "of the Web Store", self.customers)?;
        writeln!(f, "\n{:<40}{:>8}{:>8}{:>12}{:>12}", "queue", "ready", "held", "consumers", "reporting")?;
        for QueueObservation { queue, ready, in_flight, consumers, reporting, .. } in &self.queues {
            writeln!(f, "{queue:<40}{ready:>8}{in_flight:>8}{consumers:>12}{reporting:>12}")?;
        }
        if self.unknown_rows > 0 {
            writeln!(
                f,
                "\nMarketing has {} rows from the Web Store whose customer does not exist there.",
                self.unknown_rows
            )?;
        }
        for (queue, reasons) in &self.dead_letters {
            writeln!(f, "\n{queue}")?;
            for (reason, count) in reasons {
                writeln!(f, "{reason:<54}{count:>12}")?;
            }
        }
        Ok(())
    }
}
