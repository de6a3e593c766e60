//! How long each kind of fault took to recover from: from its end to the next row in Marketing.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::fault::Fault;

/// The times, by kind of fault. Displayed as a table for ARCHITECTURE.md.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    by_kind: BTreeMap<String, Vec<Duration>>,
    faults: u64,
}

impl Recoveries {
    pub(super) fn note(&mut self, faults: &[Fault], time: Duration) {
        self.faults += faults.len() as u64;
        let kind = match faults {
            [fault] => fault.kind(),
            _ => "two at once".to_owned(),
        };
        self.by_kind.entry(kind).or_default().push(time);
    }

    /// How many faults there were, each of a pair counted.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// The longest of all times.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.by_kind.values().flatten().copied().max().unwrap_or_default()
    }
}

impl Display for Recoveries {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | times | median | longest |\n| --- | ---: | ---: | ---: |")?;
        for (kind, times) in &self.by_kind {
            let mut times = times.clone();
            times.sort();
            let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
            let (median, longest) = (median.as_secs_f64(), longest.as_secs_f64());
            writeln!(f, "| {kind} | {} | {median:.2} s | {longest:.2} s |", times.len())?;
        }
        Ok(())
    }
}
