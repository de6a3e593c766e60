//! The facts about a customer as lines, in the order of their times.

use chrono::{DateTime, Utc};
use readers::web_store::{Outbox, Replay};

use super::{
    letters::CustomerLetter,
    operations::{Operation, Outcome},
    report::{CustomerReport, RowReport, VersionReport},
    sentence::time,
};

type Line = (Option<DateTime<Utc>>, String);

/// Returns the lines with their times in UTC, oldest first. A fact without a time is at the end.
pub(crate) fn timeline(customer: &CustomerReport) -> Vec<(String, String)> {
    let versions = customer.versions.iter().flatten();
    let mut lines: Vec<Line> = versions.flat_map(|one| [Some(version(one)), outbox(one)]).flatten().collect();
    lines.extend(customer.replays.iter().map(replay));
    lines.extend(customer.dead_letters.iter().map(|one| letter("dead letter", one)));
    lines.extend(customer.kept_letters.iter().map(|one| letter("kept letter", one)));
    lines.extend(customer.operations.iter().map(operation));
    lines.extend(customer.marketing.iter().flatten().map(row));
    // The sort is stable, so simultaneous facts keep the order of the way.
    lines.sort_by_key(|(at, _)| at.unwrap_or(DateTime::<Utc>::MAX_UTC));
    lines.into_iter().map(|(at, line)| (at.map_or_else(|| "-".to_owned(), time), line)).collect()
}

fn version(one: &VersionReport) -> Line {
    let event = if one.version == 1 { "registered" } else { "changed" };
    (Some(one.at), format!("{event}: version {}, message {}", one.version, one.message_id))
}

fn outbox(one: &VersionReport) -> Option<Line> {
    let Outbox { queued_at, attempts, retry_at, last_refusal } = one.outbox.as_ref()?;
    let refused = match (retry_at, last_refusal) {
        (Some(retry_at), refusal) => {
            let refusal = refusal.as_deref().unwrap_or("refused");
            format!(
                " and is parked: refused {attempts} times ({refusal}), next attempt at {}",
                time(*retry_at)
            )
        }
        (None, _) => String::new(),
    };
    Some((Some(*queued_at), format!("outbox: version {} waits{refused}", one.version)))
}

fn replay(one: &Replay) -> Line {
    let Replay { id, queue, state, reason, requested_at, is_of_all, .. } = one;
    let scope = if *is_of_all { "all customers" } else { "this customer" };
    let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    (Some(*requested_at), format!("replay: {id} of {scope} into {queue}, {state}{reason}"))
}

fn letter(kind: &str, one: &CustomerLetter) -> Line {
    let letter = &one.letter;
    let version = one.version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
    let by = letter.rejected_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let (id, queue, reason) = (letter.id.short(), &letter.queue, &letter.reason);
    let message = letter.message_id.as_deref().unwrap_or("-");
    let line = format!("{kind}: {id} in {queue}, {reason}{by}, {version}, message {message}");
    (letter.rejected_at, line)
}

fn operation(one: &Operation) -> Line {
    let Operation { id, action, operator, at, why, outcome, letters } = one;
    let letters: Vec<_> = letters.iter().map(|moved| moved.letter.letter.short()).collect();
    let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let outcome = match outcome {
        Outcome::Unfinished => "unfinished",
        Outcome::Cancelled => "cancelled",
        Outcome::Finished => "finished",
    };
    let letters = letters.join(" ");
    (Some(*at), format!("operation: {id}, {operator}: {action} {letters}, {outcome}{why}"))
}

fn row(one: &RowReport) -> Line {
    let RowReport { version, received_at, changed_at, source, is_forgotten, .. } = one;
    if *is_forgotten {
        return (*changed_at, format!("Marketing: forgotten, by {source}"));
    }
    (Some(*received_at), format!("Marketing: row from {source}, now with version {version}"))
}
