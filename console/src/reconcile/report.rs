//! The result of reconciliation, as a table and as JSON.

use std::{collections::BTreeMap, fmt};

use contracts::topology::QUEUES;
use serde::Serialize;
use uuid::Uuid;

/// The number of dead letters by queue and reason.
pub type DeadLetterCounts = BTreeMap<String, BTreeMap<String, u64>>;

/// The states of all customers of the Web Store. Each number counts customers unless its field says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All customers.
    pub customers: u64,
    /// Customers with exactly one row in Marketing.
    pub arrived: u64,
    /// Customers whose event is in the outbox.
    pub in_outbox: u64,
    /// Customers whose message is in a queue, by queue name.
    pub on_the_way: BTreeMap<&'static str, u64>,
    /// Customers whose message is a dead letter, by reason.
    pub dead_lettered: BTreeMap<String, u64>,
    /// Customers without a row and without a message.
    pub missing: u64,
    /// Customers with more than one row in Marketing.
    pub doubled: u64,
    /// The ids of the missing customers.
    pub missing_ids: Vec<Uuid>,
    /// The ids of the duplicated customers.
    pub doubled_ids: Vec<Uuid>,
    /// Rows of Marketing whose source is the Web Store, but whose customer does not exist there.
    pub unknown_rows: u64,
    /// All dead letters, including those that concern no customer of the Web Store.
    pub dead_letters: DeadLetterCounts,
}

impl Report {
    /// Returns whether no customer is missing and none is duplicated.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.missing == 0 && self.doubled == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line =
            |state: &str, detail: &str, count: u64| writeln!(f, "{state:<16}{detail:<34}{count:>12}");
        line("arrived", "", self.arrived)?;
        line("in the outbox", "", self.in_outbox)?;
        for queue in QUEUES {
            line("on the way", queue.name, self.on_the_way.get(queue.name).copied().unwrap_or(0))?;
        }
        for (reason, count) in &self.dead_lettered {
            line("dead-lettered", reason, *count)?;
        }
        line("missing", "", self.missing)?;
        line("duplicated", "", self.doubled)?;
        line("all customers", "of the Web Store", self.customers)?;
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
                writeln!(f, "{reason:<50}{count:>12}")?;
            }
        }
        Ok(())
    }
}
