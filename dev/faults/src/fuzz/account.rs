//! The account of a run: all messages that were sent, and all dead letters that were found.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use contracts::topology::{
    MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER, Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED,
    TRANSFORMER_CUSTOMER_REGISTERED,
};

use super::{
    id::number_of,
    message::{Copy, FuzzMessage},
    report::{EXAMPLES, Fate, LATE, NO_REPLY, Report},
};
use crate::wire::{Delivery, FRAME_MAX, Outcome, Property};

/// The largest reason of a dead letter in bytes.
const MAX_REASON: usize = 1000;

/// A message that was sent.
pub(super) struct Sent {
    kind: &'static str,
    copies: Vec<Copy>,
    identified: bool,
    summary: String,
    outcome: Outcome,
}

/// A dead letter that was found.
struct DeadLetter {
    /// The name of the queue from which the message was rejected.
    queue: &'static str,
    /// Whether the broker has moved it there, without a reason.
    by_broker: bool,
}

/// A row of Marketing.
pub(super) struct Row {
    pub(super) customer_id: String,
    pub(super) email_address: String,
    /// The time from the registration to the row, in microseconds.
    pub(super) delay: i64,
}

/// Everything that was sent and found.
#[derive(Default)]
pub(crate) struct Account {
    sent: HashMap<u64, Sent>,
    dead_letters: HashMap<u64, Vec<DeadLetter>>,
    /// The number of dead letters without an id, by queue.
    anonymous: HashMap<&'static str, usize>,
    /// The bodies of dead letters that are not from the fuzzer and did not expire.
    others: Vec<String>,
    /// The number of dead letters that are not from the fuzzer and expired.
    expired: usize,
    /// Dead letters that break a rule of dead letters.
    malformed: Vec<String>,
    pub(super) processes_died: Vec<String>,
}

impl Account {
    pub(crate) fn note_sent(&mut self, message: FuzzMessage, outcome: Outcome) {
        let FuzzMessage { number, kind, copies, identified, summary, .. } = message;
        self.sent.insert(number, Sent { kind, copies, identified, summary, outcome });
    }

    pub(crate) fn note_dead_letter(&mut self, queue: &'static str, letter: &Delivery, number: Option<u64>) {
        let by_broker = letter.properties.header("rejection-code").is_none();
        if !by_broker && let Some(problem) = problem(letter) {
            self.malformed.push(format!("{queue}, number {number:?}: {problem}"));
        }
        if let Some(number) = number {
            self.dead_letters.entry(number).or_default().push(DeadLetter { queue, by_broker });
        } else if !letter.body.starts_with(b"{\"") {
            *self.anonymous.entry(queue).or_default() += 1;
        } else if letter.properties.header("x-first-death-reason") == Some(b"expired") {
            self.expired += 1;
        } else {
            self.others.push(String::from_utf8_lossy(&letter.body).into_owned());
        }
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Compares all that was sent with the rows and the dead letters. `registered` are the ids of good customers.
    pub(super) fn report(&self, rows: &[Row], registered: &HashSet<String>) -> Report {
        let mut report =
            self.report_bad(&rows.iter().filter_map(|row| number_of(&row.customer_id)).collect());
        report.processes_died = self.processes_died.len();
        report.findings.extend(self.processes_died.iter().cloned());
        Self::account_for_good(rows, registered, &mut report);
        report
    }

    /// Compares the messages of the fuzzer with the dead letters and with the numbers that have rows.
    pub(crate) fn report_bad(&self, rows: &HashSet<u64>) -> Report {
        let mut report = Report::default();
        self.account_for_bad(rows, &mut report);
        report.good_dead_lettered = self.others.len() + self.expired;
        report.good_expired = self.expired;
        let dead = self.others.iter().take(EXAMPLES);
        report.findings.extend(dead.map(|body| format!("a good message is a dead letter: {body:.300}")));
        report.malformed = self.malformed.len();
        report.findings.extend(self.malformed.iter().take(EXAMPLES).cloned());
        report
    }

    fn account_for_good(rows: &[Row], registered: &HashSet<String>, report: &mut Report) {
        let good: Vec<_> = rows.iter().filter(|row| registered.contains(&row.customer_id)).collect();
        let ids: HashSet<_> = good.iter().map(|row| &row.customer_id).collect();
        let addresses: HashSet<_> = good.iter().map(|row| row.email_address.to_lowercase()).collect();
        let delays = good.iter().map(|row| Duration::from_micros(row.delay.try_into().unwrap_or(0)));
        report.good = registered.len();
        report.lost = registered.len() - ids.len();
        report.doubled = (good.len() - ids.len()).max(good.len() - addresses.len());
        report.late = delays.clone().filter(|delay| *delay > LATE).count();
        report.longest_delay = delays.max().unwrap_or_default();
    }

    fn account_for_bad(&self, rows: &HashSet<u64>, report: &mut Report) {
        let mut anonymous = self.anonymous.clone();
        let mut numbers: Vec<_> = self.sent.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let sent = &self.sent[&number];
            let letters = self.dead_letters.get(&number).map_or(&[][..], Vec::as_slice);
            report.by_broker += letters.iter().filter(|letter| letter.by_broker).count();
            let fate = if sent.outcome == Outcome::Confirmed {
                let fate = |copy: &Copy| fate(sent, copy, rows.contains(&number), letters, &mut anonymous);
                sent.copies.iter().map(fate).max().unwrap_or(Fate::Unaccounted)
            } else {
                *report.refusals.entry(refusal(&sent.outcome)).or_default() += 1;
                if sent.outcome == Outcome::Refused(NO_REPLY.to_owned()) {
                    report.no_replies.push(sent.summary.clone());
                }
                Fate::Refused
            };
            if fate == Fate::Unaccounted {
                report.add_finding(format!("unaccounted: {}", sent.summary));
            }
            report.kinds.0.entry(sent.kind).or_default()[fate as usize] += 1;
            for letter in letters {
                if !sent.copies.iter().any(|copy| copy.explains(letter.queue)) {
                    report.strayed += 1;
                    report.add_finding(format!("strayed to {}: {}", letter.queue, sent.summary));
                }
            }
            report.repeated += letters.len().saturating_sub(sent.copies.len());
        }
    }
}

/// Returns the start of the broker's reason, without the values that the reason quotes.
fn refusal(outcome: &Outcome) -> String {
    let reason = match outcome {
        Outcome::Refused(reason) => reason,
        other => return format!("{other:?}"),
    };
    reason.split(['\'', '"', '<', '{']).next().unwrap_or_default().chars().take(60).collect()
}

/// Returns the fate of one copy.
fn fate(
    sent: &Sent,
    copy: &Copy,
    has_row: bool,
    letters: &[DeadLetter],
    anonymous: &mut HashMap<&'static str, usize>,
) -> Fate {
    if letters.iter().any(|letter| copy.explains(letter.queue)) {
        return Fate::DeadLettered;
    }
    if has_row && copy.processable {
        return Fate::Processed;
    }
    match anonymous.get_mut(copy.queue.name) {
        Some(count) if !sent.identified && *count > 0 => {
            *count -= 1;
            Fate::DeadLettered
        }
        _ => Fate::Unaccounted,
    }
}

impl Copy {
    /// Returns whether this copy may become a dead letter of a queue. A command that the transformer makes from an
    /// event may be rejected by Marketing.
    fn explains(&self, queue: &str) -> bool {
        self.queue.name == queue
            || self.processable && next_queue(&self.queue).is_some_and(|next| next.name == queue)
    }
}

fn next_queue(queue: &Queue) -> Option<Queue> {
    if *queue == TRANSFORMER_CUSTOMER_REGISTERED {
        Some(MARKETING_CREATE_CUSTOMER)
    } else if *queue == TRANSFORMER_CUSTOMER_DETAILS_CHANGED {
        Some(MARKETING_UPDATE_CUSTOMER)
    } else {
        None
    }
}

/// Returns the rule that a dead letter of our consumer breaks.
fn problem(letter: &Delivery) -> Option<String> {
    let reason = letter.properties.header("rejection-reason");
    match reason {
        None => return Some("no reason".to_owned()),
        Some(reason) if reason.len() > MAX_REASON => {
            return Some(format!("a reason of {} bytes", reason.len()));
        }
        _ => {}
    }
    for property in [Property::UserId, Property::Expiration] {
        if letter.properties.text(property).is_some() {
            return Some(format!("has the property {property:?}"));
        }
    }
    (letter.header_frame > FRAME_MAX).then(|| format!("a content header of {} bytes", letter.header_frame))
}
