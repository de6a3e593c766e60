//! The sentence about a location: the version, the place, since when, why, and the next step.

use chrono::{DateTime, TimeDelta, Utc};
use readers::{
    marketing::ReceivedRow,
    web_store::{Erased, Outbox, Version},
};
use reconciliation::QueueObservation;
use uuid::Uuid;

use super::{
    history::{Environment, History},
    letters::CustomerLetter,
    location::Location,
};

/// The age at which an event in the outbox is late. The relay publishes it within about a second.
const LATE: TimeDelta = TimeDelta::seconds(10);

/// Returns a time as every output prints it.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The words about a location.
#[derive(Debug)]
pub(super) struct Sentence {
    /// The place, since when, and why.
    pub(super) place: String,
    /// The next step. `None` if there is none.
    pub(super) next: Option<String>,
}

impl Sentence {
    fn new(place: String, next: &str) -> Self {
        Self { place, next: Some(next.to_owned()) }
    }

    /// Returns the sentence about a location.
    pub(super) fn of(location: &Location<'_>, history: &History, environment: &Environment) -> Self {
        let mut sentence = Self::about(location, history, environment);
        let row = history.rows.iter().flatten().next();
        let waits = matches!(
            location,
            Location::Outbox(..) | Location::OnTheWay(..) | Location::Held(..) | Location::DeadLetter(..)
        );
        if let (true, Some(found)) = (waits, row) {
            sentence.place += ", and Marketing still has version ";
            sentence.place += &found.row.version.to_string();
        }
        sentence
    }

    fn about(location: &Location<'_>, history: &History, environment: &Environment) -> Self {
        match location {
            Location::NotRegistered(row, letter) => not_registered(*row, *letter),
            Location::Erased(erased, row, letter) => self::erased(erased, *row, *letter),
            Location::Forgotten(version, row) => {
                let since = row.row.changed_at.map(|at| format!(" since {}", time(at.and_utc())));
                let (version, since) = (version.number, since.unwrap_or_default());
                let place = format!(
                    "Version {version} is in the Web Store, and Marketing has forgotten the customer{since}: the Web Store \
                     was restored from a backup that is older than the erasure"
                );
                Self::new(place, &erase_again(history.customer))
            }
            Location::Outbox(version, outbox) => in_outbox(version, outbox),
            Location::OnTheWay(version, queues) => on_the_way(version, queues, history),
            Location::Held(version, queue) => held(version, queue, environment),
            Location::DeadLetter(version, letter) => {
                let letter = &letter.letter;
                let since = letter.rejected_at.map(|at| format!(" since {}", time(at))).unwrap_or_default();
                let (version, queue, reason) = (version.number, &letter.queue, &letter.reason);
                let place = format!("Version {version} is a dead letter in {queue}{since} ({reason})");
                Self::new(place, &format!("console dead-letters check {}", letter.id.short()))
            }
            Location::Discarded(version, letter, operation) => {
                let by = operation.map(|one| format!(" by {} at {}", one.operator, time(one.at)));
                let why = operation.and_then(|one| one.why.as_ref()).map(|why| format!(" ({why})"));
                let place = format!(
                    "Version {} was discarded{}{}: its letter is in console.kept, and Marketing does not have it",
                    version.number,
                    by.unwrap_or_default(),
                    why.unwrap_or_default()
                );
                Self::new(place, &format!("console dead-letters restore {}", letter.letter.id.short()))
            }
            Location::Arrived(version, row) => Self { place: arrived(version, row), next: None },
            Location::Lost(version, row) => lost(version, *row, history),
            Location::Ahead(version, row) => {
                let (own, newer) = (version.number, row.row.version);
                let place = format!(
                    "Marketing has version {newer}, which is newer than version {own} of the Web Store: the Web Store \
                     was restored from an older backup"
                );
                Self::new(place, "console reconcile --watch requests a higher version")
            }
            Location::Duplicated(version, rows) => {
                let place =
                    format!("Marketing has {} rows, and version {} is newest", rows.len(), version.number);
                Self::new(place, "restore the primary key of Marketing's table, and delete the older rows")
            }
            Location::Unknown(version) => unknown(*version),
        }
    }
}

fn erased(erased: &Erased, row: Option<&ReceivedRow>, letter: Option<&CustomerLetter>) -> Sentence {
    let at = time(erased.erased_at);
    let next = Some(erase_again(erased.customer_id));
    let (rest, next) = match (row, letter) {
        (_, Some(CustomerLetter { letter, .. })) => (format!("{} has a letter of it", letter.queue), next),
        (Some(found), None) if found.row.is_forgotten() => ("Marketing has forgotten it".to_owned(), None),
        (Some(found), None) => (format!("Marketing still has version {}", found.row.version), next),
        (None, None) => ("Marketing has not received the erasure yet".to_owned(), next),
    };
    Sentence { place: format!("The customer was erased at {at}, and {rest}"), next }
}

fn erase_again(customer: Uuid) -> String {
    format!("console erase --customer {customer} --why TEXT --yes")
}

fn not_registered(row: Option<&ReceivedRow>, letter: Option<&CustomerLetter>) -> Sentence {
    let next = "find out whether the Web Store was restored from an older backup";
    match (row, letter) {
        (Some(ReceivedRow { row, .. }), _) => {
            let (version, source) = (row.version, &row.source);
            let place = format!(
                "The Web Store has no such customer, and Marketing has version {version} from {source}"
            );
            Sentence { place, next: (source == "web-store").then(|| next.to_owned()) }
        }
        (None, Some(CustomerLetter { letter, .. })) => {
            let place =
                format!("The Web Store has no such customer, and {} has a letter of it", letter.queue);
            Sentence::new(place, &format!("console dead-letters show {}", letter.id.short()))
        }
        (None, None) => Sentence { place: "No customer and no message has this id".to_owned(), next: None },
    }
}

fn in_outbox(version: &Version, outbox: &Outbox) -> Sentence {
    let (version, since) = (version.number, time(outbox.queued_at));
    let Some(retry_at) = outbox.retry_at else {
        let is_late = Utc::now() - outbox.queued_at > LATE;
        let next = "check the health of the Web Store, which publishes it when the broker is available";
        return Sentence {
            place: format!("Version {version} waits in the outbox since {since}"),
            next: is_late.then(|| next.to_owned()),
        };
    };
    let (reason, next) = match outbox.last_refusal.as_deref() {
        Some("returned") => ("no queue takes it", "start the transformer, which creates its queues"),
        _ => ("a queue refuses it", "remove the length limit of the queue, or drain the queue"),
    };
    let (attempts, retry_at) = (outbox.attempts, time(retry_at));
    let place = format!(
        "Version {version} is parked in the outbox since {since}, because {reason}: the broker refused it {attempts} \
         times, and the next attempt is at {retry_at}"
    );
    Sentence::new(place, next)
}

fn on_the_way(version: &Version, queues: &[&QueueObservation], history: &History) -> Sentence {
    let again = format!("console find {}", history.customer);
    let (version, since) = (version.number, time(version.since()));
    let [queue] = queues else {
        let names: Vec<_> = queues.iter().map(|queue| queue.queue).collect();
        let stopped = queues.iter().find(|queue| queue.consumers == 0).map(|queue| start(queue));
        let place = match names[..] {
            [] => format!(
                "Version {version} of {since} is on the way, and the evidence about the queues is incomplete"
            ),
            _ => format!("Version {version} of {since} is on the way, in {}", names.join(" or ")),
        };
        return Sentence { place, next: Some(stopped.unwrap_or(again)) };
    };
    let QueueObservation { queue: name, ready, consumers, reporting, .. } = queue;
    let (reason, next) = if *consumers == 0 {
        (format!("{ready} messages wait, and the queue has no consumer"), start(queue))
    } else if consumers > reporting {
        let next = format!("check the health of {}", service(queue));
        (format!("{} consumers do not report", consumers - reporting), next)
    } else {
        (format!("{ready} messages wait"), again)
    };
    Sentence::new(format!("Version {version} of {since} is on the way, in {name}: {reason}"), &next)
}

fn held(version: &Version, queue: &QueueObservation, environment: &Environment) -> Sentence {
    let service = service(queue);
    let (reason, next) = match environment.is_read_only {
        Some(true) => {
            (", because its database is read-only", "make Marketing's database writable again".to_owned())
        }
        None => (", because its database cannot be read", "restore Marketing's database".to_owned()),
        Some(false) => ("", format!("check the health of {service}, and its servers")),
    };
    let place = format!(
        "Version {} of {} is held by {service}{reason}: it has {} messages of {} and does not settle them",
        version.number,
        time(version.since()),
        queue.in_flight,
        queue.queue
    );
    Sentence::new(place, &next)
}

fn arrived(version: &Version, row: &ReceivedRow) -> String {
    let (number, received_at) = (version.number, time(row.received_at.and_utc()));
    match version.changed_at {
        None => format!("Version {number} arrived in Marketing at {received_at}"),
        Some(_) => format!("Version {number} arrived in Marketing, whose row is from {received_at}"),
    }
}

fn lost(version: &Version, row: Option<&ReceivedRow>, history: &History) -> Sentence {
    let (number, since) = (version.number, time(version.since()));
    let marketing = match row {
        Some(found) => format!("Marketing has version {}", found.row.version),
        None => "Marketing has no row".to_owned(),
    };
    let place = format!(
        "Version {number} of {since} is lost: its message has passed the queues and is no dead letter, and {marketing}"
    );
    let running = history.replays.iter().find(|replay| replay.state == "running" && !replay.has_passed);
    let next = match running {
        Some(replay) => format!("replay {} sends it again", replay.id),
        None => format!(
            "console reconcile --watch requests a replay; or web-store republish --customer {}",
            history.customer
        ),
    };
    Sentence::new(place, &next)
}

fn unknown(version: Option<&Version>) -> Sentence {
    let place = match version {
        Some(version) => format!("The location of version {} is unknown", version.number),
        None => "The location of the newest version is unknown".to_owned(),
    };
    Sentence::new(place + ", because a server cannot be read", "restore the server, and repeat the command")
}

fn service<'a>(queue: &QueueObservation) -> &'a str {
    if queue.queue.starts_with("marketing.") { "Marketing" } else { "the transformer" }
}

fn start(queue: &QueueObservation) -> String {
    format!("start {}", service(queue))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use readers::web_store::{Outbox, Replay, Version};
    use reconciliation::State;
    use uuid::Uuid;

    use super::Sentence;
    use crate::find::{
        history::{Environment, History},
        location::Location,
    };

    fn next(history: &History, location: &Location<'_>) -> Option<String> {
        Sentence::of(location, history, &Environment::default()).next
    }

    #[test]
    fn next_step_of_parked_event_depends_on_refusal() {
        let time = DateTime::UNIX_EPOCH;
        let version = Version::registered(1);
        for (refusal, expected) in
            [("returned", "start the transformer"), ("nacked", "remove the length limit")]
        {
            let last_refusal = Some(refusal.to_owned());
            let outbox = Outbox { queued_at: time, attempts: 3, retry_at: Some(time), last_refusal };
            let next = next(&History::default(), &Location::Outbox(&version, outbox)).unwrap();
            assert!(next.starts_with(expected), "{next}");
        }
    }

    #[test]
    fn next_step_of_lost_message_is_running_replay_or_new_one() {
        let replay = Replay {
            id: Uuid::max(),
            queue: "q".to_owned(),
            state: "running".to_owned(),
            reason: None,
            requested_at: DateTime::UNIX_EPOCH,
            ended_at: None,
            is_of_all: true,
            has_passed: false,
        };
        let passed = Replay { has_passed: true, ..replay.clone() };
        for (replay, expected) in [(replay, "replay ffffffff"), (passed, "console reconcile --watch")] {
            let history = History {
                versions: Some(vec![Version::registered(1)]),
                rows: Some(Vec::new()),
                replays: vec![replay],
                state: Some((1, State::Missing)),
                ..History::default()
            };
            let environment = Environment::default();
            let next = next(&history, &Location::of(&history, &environment)).unwrap();
            assert!(next.starts_with(expected), "{next}");
        }
    }
}
