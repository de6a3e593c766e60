//! What the books say, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// How many dead letters there are, by their queue and their reason.
pub type DeadLetters = BTreeMap<String, BTreeMap<String, u64>>;

/// Every customer of the Web Store in exactly one state. All numbers are customers, unless they say else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All of them.
    pub customers: u64,
    /// Marketing has exactly one row for them.
    pub arrived: u64,
    /// Their event has not left the Web Store.
    pub in_outbox: u64,
    /// Their message is in a queue; by its name.
    pub on_the_way: BTreeMap<&'static str, u64>,
    /// Their message is a dead letter; by its reason.
    pub dead_lettered: BTreeMap<String, u64>,
    /// They are nowhere.
    pub missing: u64,
    /// Marketing has more than one row for them.
    pub doubled: u64,
    /// Who is missing.
    pub missing_ids: Vec<Uuid>,
    /// Who is doubled.
    pub doubled_ids: Vec<Uuid>,
    /// Rows of Marketing that say they come from the Web Store, which does not know them.
    pub unknown_rows: u64,
    /// All dead letters, whoever they are about.
    pub dead_letters: DeadLetters,
}

impl Report {
    /// Nobody is missing and nobody is doubled.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.missing == 0 && self.doubled == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line =
            |what: &str, detail: &str, count: u64| writeln!(f, "{what:<16}{detail:<34}{count:>12}");
        line("arrived", "", self.arrived)?;
        line("in the outbox", "", self.in_outbox)?;
        for queue in contracts::topology::QUEUES {
            line("on the way", queue.name, self.on_the_way.get(queue.name).copied().unwrap_or(0))?;
        }
        for (reason, count) in &self.dead_lettered {
            line("dead-lettered", reason, *count)?;
        }
        line("missing", "", self.missing)?;
        line("doubled", "", self.doubled)?;
        line("all customers", "of the Web Store", self.customers)?;
        if self.unknown_rows > 0 {
            writeln!(
                f,
                "\nMarketing has {} rows from the Web Store that it does not know.",
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
