//! The records of the journal: one for each thing that an operator did, and the verdict about the chain.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use dead_letters::journal::{Action, Entry, Event, Link};
use uuid::Uuid;

use crate::journal::{describe, summarize};

/// The records on one page.
const PAGE: usize = 50;

/// The entries on the picture.
const LINES: usize = 8;

/// Something that an operator did, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: Uuid,
    pub(super) at: DateTime<Utc>,
    pub(super) operator: String,
    pub(super) what: String,
    pub(super) why: Option<String>,
    /// `None` unless it is an operation on letters.
    pub(super) operation: Option<RecordedOperation>,
}

/// An operation on letters, according to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordedOperation {
    pub(super) action: Action,
    /// The number of its letters.
    pub(super) letters: u64,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A console executes it, or it was interrupted.
    Unfinished,
    Cancelled,
    Finished {
        moved: u64,
        absent: u64,
    },
}

/// An entry of the journal as a line of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: DateTime<Utc>,
    pub(super) operator: String,
    pub(super) text: String,
}

/// The records of all entries, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    all: Vec<Record>,
    by_id: HashMap<Uuid, usize>,
    /// The last entries, newest first.
    lines: VecDeque<Line>,
    /// The number of messages in the stream.
    messages: usize,
    /// The places at which the chain is broken, each with the reason.
    breaks: Vec<(usize, String)>,
    last_hash: String,
}

/// The result of the verification of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verification<'a> {
    pub(super) entries: usize,
    pub(super) breaks: &'a [(usize, String)],
    pub(super) last_hash: &'a str,
}

/// Records on one page, newest first.
#[derive(Debug)]
pub(super) struct RecordPage<'a> {
    pub(super) records: Vec<&'a Record>,
    /// The value of `before` on the page with older records, if there are any.
    pub(super) older: Option<usize>,
    /// Whether newer records exist.
    pub(super) has_newer: bool,
}

impl Records {
    /// Adds the links that are new. `links` are all links of the journal.
    pub(super) fn update(&mut self, links: &[Link], last_hash: &str) {
        for (position, link) in links.iter().enumerate().skip(self.messages) {
            match link {
                Link::Entry(entry) => self.add(entry),
                Link::Superseded(_) => {}
                Link::Broken(reason) => self.breaks.push((position, reason.clone())),
            }
        }
        self.messages = links.len();
        last_hash.clone_into(&mut self.last_hash);
    }

    fn add(&mut self, entry: &Entry) {
        let Entry { at, operator, operation: id, event, .. } = entry;
        if !matches!(event, Event::Selected { .. }) {
            self.lines.push_front(Line { at: *at, operator: operator.clone(), text: describe(event) });
            self.lines.truncate(LINES);
        }
        let outcome = match event {
            Event::Cancelled => Some(Outcome::Cancelled),
            Event::Finished { moved, absent } => Some(Outcome::Finished { moved: *moved, absent: *absent }),
            _ => None,
        };
        let known = self.by_id.get(id).and_then(|index| self.all.get_mut(*index));
        if let Some(record) = known {
            if let (Some(outcome), Some(operation)) = (outcome, &mut record.operation) {
                operation.outcome = outcome;
            }
            return;
        }
        let operation = match event {
            Event::Started { action, letters, .. } => {
                Some(RecordedOperation { action: *action, letters: *letters, outcome: Outcome::Unfinished })
            }
            _ => None,
        };
        self.by_id.insert(*id, self.all.len());
        self.all.push(Record {
            id: *id,
            at: *at,
            operator: operator.clone(),
            what: summarize(event),
            why: event.why().map(str::to_owned),
            operation,
        });
    }

    /// Returns the last entries, newest first.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// Returns the record with this id.
    pub(super) fn get(&self, id: Uuid) -> Option<&Record> {
        self.all.get(*self.by_id.get(&id)?)
    }

    /// Returns the page of the records before a position, or the newest ones.
    pub(super) fn page(&self, before: Option<usize>) -> RecordPage<'_> {
        let end = before.unwrap_or(self.all.len()).min(self.all.len());
        let start = end.saturating_sub(PAGE);
        RecordPage {
            records: self.all[start..end].iter().rev().collect(),
            older: (start > 0).then_some(start),
            has_newer: end < self.all.len(),
        }
    }

    /// Returns the result of the verification.
    pub(super) fn verification(&self) -> Verification<'_> {
        Verification { entries: self.messages, breaks: &self.breaks, last_hash: &self.last_hash }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use dead_letters::journal::{Action, Entry, Event, Link};
    use uuid::Uuid;

    use super::{Outcome, PAGE, Records};

    fn link(id: u128, event: Event) -> Link {
        Link::Entry(Entry {
            previous: String::new(),
            at: Utc::now(),
            operator: "Anna".to_owned(),
            operation: Uuid::from_u128(id),
            event,
        })
    }

    fn start(id: u128) -> Link {
        let (selection, why) = ("--all".to_owned(), Some("a test".to_owned()));
        link(id, Event::Started { action: Action::Retry, selection, letters: 2, rate: None, why })
    }

    #[test]
    fn operation_has_one_record_with_its_last_outcome() {
        let mut records = Records::default();
        let mut links = vec![link(1, Event::Created), start(2)];
        records.update(&links, "a");
        let outcome = |records: &Records| records.get(Uuid::from_u128(2)).unwrap().operation.unwrap().outcome;
        assert_eq!(outcome(&records), Outcome::Unfinished);
        links.extend([link(2, Event::Resumed), link(2, Event::Finished { moved: 1, absent: 1 })]);
        records.update(&links, "b");
        assert_eq!(outcome(&records), Outcome::Finished { moved: 1, absent: 1 });
        let page = records.page(None);
        let shown: Vec<_> =
            page.records.iter().map(|record| (&*record.what, record.why.as_deref())).collect();
        assert_eq!(shown, [("retry 2 letters (--all)", Some("a test")), ("created the journal", None)]);
    }

    #[test]
    fn pages_do_not_move_while_records_are_added() {
        let mut records = Records::default();
        let mut links: Vec<_> = (0..PAGE as u128 + 3).map(start).collect();
        records.update(&links, "a");
        let older = records.page(None).older;
        let ids = |records: &Records| {
            records.page(older).records.iter().map(|record| record.id).collect::<Vec<_>>()
        };
        let before = ids(&records);
        assert_eq!((older, before.len()), (Some(3), 3));
        links.push(start(1000));
        records.update(&links, "b");
        assert_eq!(ids(&records), before);
        assert!(records.page(older).has_newer && !records.page(None).has_newer);
    }

    #[test]
    fn broken_link_is_verified_with_its_place() {
        let mut records = Records::default();
        records.update(&[start(1), Link::Broken("modified".to_owned()), start(2)], "last");
        let verification = records.verification();
        assert_eq!((verification.entries, verification.last_hash), (3, "last"));
        assert_eq!(verification.breaks, [(1, "modified".to_owned())]);
    }
}
