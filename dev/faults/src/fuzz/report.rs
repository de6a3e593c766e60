//! The result of a run: the fate of every message, good and bad.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::kinds::KINDS;

/// A good message may take this long, from the registration to its row.
pub(super) const LATE: Duration = Duration::from_mins(1);

/// The reason of a refusal if the broker did not react.
pub(super) const NO_REPLY: &str = "no reply";

/// The number of examples of each finding.
pub(super) const EXAMPLES: usize = 20;

/// The fate of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Refused,
    Processed,
    DeadLettered,
    Unaccounted,
}

/// The number of messages of each kind, by fate. Displayed as a Markdown table.
#[derive(Default)]
pub(crate) struct KindCounts(pub(super) BTreeMap<&'static str, [usize; 4]>);

/// The result of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) kinds: KindCounts,
    /// The number of refused messages, by the start of the broker's reason.
    pub(super) refusals: BTreeMap<String, usize>,
    /// Messages to which the broker did not react.
    pub(super) no_replies: Vec<String>,
    /// Dead letters that the broker moved by itself.
    pub(super) by_broker: usize,
    /// Dead letters beyond the first one of a copy.
    pub(super) repeated: usize,
    pub(crate) findings: Vec<String>,
    pub(super) good: usize,
    pub(super) late: usize,
    pub(super) lost: usize,
    pub(super) doubled: usize,
    pub(crate) good_dead_lettered: usize,
    /// Those of them that a policy of the broker has expired.
    pub(crate) good_expired: usize,
    pub(crate) strayed: usize,
    pub(crate) malformed: usize,
    pub(super) processes_died: usize,
    pub(super) longest_delay: Duration,
    pub(super) peak_memory: String,
    pub(super) seed: u64,
}

impl Report {
    /// Adds a finding, unless there are enough examples.
    pub(super) fn add_finding(&mut self, finding: String) {
        if self.findings.len() < EXAMPLES {
            self.findings.push(finding);
        }
    }

    /// Returns the number of messages with a fate.
    pub(crate) fn total(&self, fate: Fate) -> usize {
        self.kinds.0.values().map(|fates| fates[fate as usize]).sum()
    }

    /// Returns whether every message has arrived or has been accounted for.
    pub(super) fn is_complete(&self) -> bool {
        self.lost == 0 && self.total(Fate::Unaccounted) == 0
    }

    /// Returns whether there are no findings.
    pub(crate) fn is_clean(&self) -> bool {
        let Self { late, doubled, good_dead_lettered, strayed, malformed, processes_died, .. } = self;
        self.is_complete()
            && [late, doubled, good_dead_lettered, strayed, malformed, processes_died]
                .iter()
                .all(|n| **n == 0)
    }
}

impl Display for KindCounts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| kind | sent | refused | processed | dead-lettered | unaccounted |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for kind in KINDS {
            if let Some(fates) = self.0.get(kind.name) {
                let [refused, processed, dead_lettered, unaccounted] = fates;
                let sent: usize = fates.iter().sum();
                let name = kind.name;
                writeln!(
                    f,
                    "| {name} | {sent} | {refused} | {processed} | {dead_lettered} | {unaccounted} |"
                )?;
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.kinds.fmt(f)?;
        writeln!(f, "\n| refusal | messages |\n| --- | ---: |")?;
        for (reason, count) in &self.refusals {
            writeln!(f, "| {reason} | {count} |")?;
        }
        for summary in self.no_replies.iter().take(EXAMPLES) {
            writeln!(f, "{NO_REPLY}: {summary}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        writeln!(f, "peak memory: {}", self.peak_memory)?;
        writeln!(
            f,
            "dead letters moved by the broker: {}; repeated dead letters: {}",
            self.by_broker, self.repeated
        )?;
        let sent: usize = self.kinds.0.values().flatten().sum();
        write!(
            f,
            "sent={sent} refused={} processed={} dead_lettered={} unaccounted={} ",
            self.total(Fate::Refused),
            self.total(Fate::Processed),
            self.total(Fate::DeadLettered),
            self.total(Fate::Unaccounted),
        )?;
        let Self {
            good, late, lost, doubled, good_dead_lettered, strayed, malformed, processes_died, ..
        } = self;
        write!(
            f,
            "good={good} late={late} lost={lost} doubled={doubled} good_dead_lettered={good_dead_lettered} \
             strayed={strayed} malformed={malformed} processes_died={processes_died} longest_delay={:.1} seed={}",
            self.longest_delay.as_secs_f64(),
            self.seed
        )
    }
}
