//! The recovery times of a fault run, by kind of fault.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use crate::fault::Fault;

/// Recovery times: from the end of a fault to the row of a customer who was registered after it. Displayed as a
/// Markdown table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recoveries {
    by_kind: BTreeMap<String, Vec<Duration>>,
    faults: usize,
}

impl Recoveries {
    /// Records the recovery from one fault, or from two simultaneous ones.
    pub(crate) fn record(&mut self, faults: &[Fault], time: Duration) {
        self.faults += faults.len();
        let kind = match faults {
            [fault] => fault.kind.describe().name,
            _ => "two faults simultaneously".to_owned(),
        };
        self.by_kind.entry(kind).or_default().push(time);
    }

    /// Returns the number of faults. A pair counts as two.
    pub(crate) fn faults(&self) -> usize {
        self.faults
    }
}

impl Display for Recoveries {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | count | median | maximum |\n| --- | ---: | ---: | ---: |")?;
        for (kind, times) in &self.by_kind {
            let mut times = times.clone();
            times.sort();
            let median = times[times.len() / 2].as_secs_f64();
            let maximum = times[times.len() - 1].as_secs_f64();
            writeln!(f, "| {kind} | {} | {median:.2} s | {maximum:.2} s |", times.len())?;
        }
        Ok(())
    }
}
