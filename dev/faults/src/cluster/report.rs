//! The steps of the proof and its result.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// One step: a state of the cluster under load.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) registered: i64,
    /// The time from the fault until the row of a customer who registered after it. If no node can work without a start,
    /// from the start of the nodes.
    pub(super) recovery: Duration,
    /// The longest time from a registration during the step until its row.
    pub(super) longest_delay: Duration,
}

/// Displayed as a Markdown table, and a line for scripts. The names of its fields do not change.
#[derive(Default)]
pub(super) struct Report {
    pub(super) steps: Vec<Step>,
    /// The number of customers in the Web Store's table.
    pub(super) registered: usize,
    /// The number of rows in Marketing's table.
    pub(super) marketing: usize,
    pub(super) lost: usize,
    pub(super) duplicated: usize,
    /// The number of registrations with an error or without a response.
    pub(super) refused: u64,
    /// The number of replays that a service has requested, because it did not find its queue.
    pub(super) replays: i64,
}

impl Report {
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.refused == 0 && self.replays == 0
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| step | registered | recovery | longest delay |\n| --- | ---: | ---: | ---: |")?;
        for Step { name, registered, recovery, longest_delay } in &self.steps {
            let (recovery, delay) = (recovery.as_secs_f64(), longest_delay.as_secs_f64());
            writeln!(f, "| {name} | {registered} | {recovery:.1} s | {delay:.1} s |")?;
        }
        let Self { steps, registered, marketing, lost, duplicated, refused, replays } = self;
        write!(
            f,
            "\nregistered={registered} marketing={marketing} lost={lost} doubled={duplicated} refused={refused} \
             replays={replays} steps={}",
            steps.len()
        )
    }
}
