//! The parts of the picture: the sentence, the way of the customers, and the dead letters.

use std::time::Duration;

use askama::Template;
use contracts::{
    operations::{ProbeArrival, SubscriptionState},
    topology::Queue,
};

use crate::page::{
    alerts::Alert,
    facts::{Facts, LetterGroup, Reading, Service, Trouble, WebStoreFacts},
    format::{count, duration, rate, sparkline, thousands, time},
    history::{Age, QueueReading},
    records::Line,
    sentence::{Sentence, Tone, sentence},
};

/// The age of a message in a queue that the picture emphasizes.
const NOTABLE_AGE_SECONDS: u64 = 5;

/// The largest counted number of events in the outbox.
const OUTBOX_LIMIT: u64 = 10_000;

#[derive(Template)]
#[template(path = "parts.html")]
pub(super) struct Parts {
    sentence: Sentence,
    at: String,
    nodes: Vec<Node>,
    letters: LettersPart,
    objective: ObjectivePart,
    /// `None` unless Prometheus is set.
    alerts: Option<AlertsPart>,
    checks: Vec<(&'static str, String)>,
    journal: Result<Vec<(String, String, String)>, String>,
}

/// A station or a store on the way.
#[derive(Default)]
struct Node {
    name: &'static str,
    /// Whether it keeps messages. Otherwise it is an application.
    is_store: bool,
    tone: Option<Tone>,
    /// The number of instances.
    badge: String,
    meters: Vec<Meter>,
    /// The reason for its tone.
    note: String,
}

/// A number with its unit.
#[derive(Default)]
struct Meter {
    /// The first and the second part of the name of a queue, or empty.
    queue: Option<(&'static str, &'static str)>,
    value: String,
    unit: String,
    detail: String,
    /// The points of a line.
    past: String,
}

/// The objective, and the probes that show the way without a customer.
struct ObjectivePart {
    /// The part of the registrations that were in time, or a note.
    value: Result<String, String>,
    is_met: bool,
    facts: Vec<(String, String)>,
}

struct AlertsPart {
    title: String,
    needs_person: bool,
    alerts: Vec<AlertRow>,
    note: String,
}

struct AlertRow {
    name: String,
    summary: String,
    since: String,
    is_page: bool,
    runbook: Option<String>,
}

struct LettersPart {
    total: u64,
    title: String,
    groups: Vec<GroupRow>,
    note: String,
}

struct GroupRow {
    url: String,
    queue: String,
    reason: String,
    letters: String,
    first: String,
    last: String,
    passing: u64,
    failing: u64,
}

impl Parts {
    pub(super) fn new(facts: &Facts) -> Self {
        Self {
            sentence: sentence(facts),
            at: facts.at.format("%H:%M:%S").to_string(),
            nodes: vec![
                web_store(facts),
                outbox(facts),
                queues(facts, Service::Transformer),
                transformer(facts),
                queues(facts, Service::Marketing),
                marketing(facts),
            ],
            letters: letters(facts),
            objective: objective(facts),
            alerts: facts.alerts.as_ref().map(|alerts| alerts_part(alerts, facts)),
            checks: checks(facts),
            journal: facts.journal.clone().map(|records| {
                let line = |line: &Line| (time(line.at, facts.at), line.operator.clone(), line.text.clone());
                records.lines().map(line).collect()
            }),
        }
    }

    /// Returns the title of the page.
    pub(super) fn title(&self) -> String {
        self.sentence.headline.trim_end_matches('.').to_owned()
    }
}

impl Node {
    fn application(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn store(name: &'static str) -> Self {
        Self { name, is_store: true, ..Self::default() }
    }

    /// Returns the node of a server that cannot be read.
    ///
    /// Several nodes can have the same server. Only the first of them shows the reason.
    fn unknown(self, reason: Option<&str>) -> Self {
        let note = reason.map(|reason| format!("{reason}.")).unwrap_or_default();
        let meters =
            vec![Meter { value: "?".to_owned(), unit: "cannot be read".to_owned(), ..Meter::default() }];
        Self { tone: Some(Tone::Unknown), meters, note, ..self }
    }

    fn class(&self) -> String {
        let kind = if self.is_store { "store" } else { "application" };
        let tone = self.tone.map_or("", Tone::class);
        format!("{kind} {tone}").trim_end().to_owned()
    }
}

fn web_store(facts: &Facts) -> Node {
    let node = Node::application("Web Store");
    match &facts.web_store {
        Err(reason) => node.unknown(Some(reason)),
        Ok(WebStoreFacts { rate: registered, past, .. }) => {
            let meter = Meter {
                value: rate(*registered),
                unit: "registered per second".to_owned(),
                past: line(past),
                ..Meter::default()
            };
            Node { meters: vec![meter], ..node }
        }
    }
}

fn outbox(facts: &Facts) -> Node {
    let node = Node::store("Outbox");
    let Ok(outbox) = &facts.web_store else { return node.unknown(None) };
    let events = outbox.fresh + outbox.parked;
    let more = if outbox.fresh > OUTBOX_LIMIT || outbox.parked > OUTBOX_LIMIT { "+" } else { "" };
    let detail = if events > 0 { format!("oldest {}", duration(outbox.oldest)) } else { String::new() };
    let value =
        if more.is_empty() { thousands(events) } else { format!("{}{more}", thousands(OUTBOX_LIMIT)) };
    let meter = Meter { value, unit: "waiting".to_owned(), detail, ..Meter::default() };
    let is_late = events > 0 && outbox.oldest.as_secs() >= NOTABLE_AGE_SECONDS;
    let (tone, reason) = if facts.is_outbox_stuck() {
        let reason = match outbox.parked {
            0 => "Nothing sends the events".to_owned(),
            parked => format!("The broker refuses {}", count(parked, "event")),
        };
        (Some(Tone::Person), reason)
    } else {
        (is_late.then_some(Tone::Waiting), String::new())
    };
    Node { meters: vec![meter], tone, note: reason, ..node }
}

fn queues(facts: &Facts, service: Service) -> Node {
    let node = Node::store(match service {
        Service::Transformer => "Events",
        Service::Marketing => "Commands",
    });
    if let Some(reason) = facts.broker_problem_of(service) {
        // The same broker has the queues of both services, unless there are two sites.
        let is_repeated =
            service == Service::Marketing && facts.broker_problem_of(Service::Transformer) == Some(reason);
        return node.unknown(Some(reason).filter(|_| !is_repeated));
    }
    let meters = facts.queues_of(service).map(|facts| {
        let reading = facts.reading.as_ref().ok().and_then(Option::as_ref);
        queue_meter(facts.queue, reading)
    });
    let is_late = facts.readings_of(service).any(|(_, reading)| is_notable(reading));
    Node { meters: meters.collect(), tone: is_late.then_some(Tone::Waiting), ..node }
}

/// Returns the points of a line, or nothing if all values are 0.
fn line(values: &[f64]) -> String {
    if values.iter().any(|value| *value > 0.0) { sparkline(values) } else { String::new() }
}

fn is_notable(reading: &QueueReading) -> bool {
    reading.oldest.is_some_and(|age| match age {
        Age::Exactly(age) | Age::AtLeast(age) => age.as_secs() >= NOTABLE_AGE_SECONDS,
    })
}

fn queue_meter(queue: &Queue, reading: Option<&QueueReading>) -> Meter {
    let name = queue.name.split_once('.');
    let Some(reading) = reading else {
        return Meter {
            queue: name,
            value: "—".to_owned(),
            unit: "not created yet".to_owned(),
            ..Meter::default()
        };
    };
    let age = reading.oldest.filter(|_| is_notable(reading)).map(|age| match age {
        Age::Exactly(age) => format!("oldest {}", duration(age)),
        Age::AtLeast(age) => format!("oldest over {}", duration(age)),
    });
    let trend = match reading.time_to_drain() {
        Some(time) if is_notable(reading) => Some(format!("drains in {}", duration(time))),
        _ if reading.growth > 0.5 && is_notable(reading) => {
            Some(format!("growing by {} per second", rate(reading.growth)))
        }
        _ => None,
    };
    let state = match reading.subscription {
        SubscriptionState::Running => None,
        SubscriptionState::Paused => Some("paused".to_owned()),
        SubscriptionState::Throttled { rate } => Some(format!("at most {rate} per second")),
    };
    let detail = state.into_iter().chain(age).chain(trend).collect::<Vec<_>>().join(", ");
    let past = line(&reading.past);
    Meter { queue: name, value: thousands(reading.waiting), unit: "waiting".to_owned(), detail, past }
}

/// Adds the instances of a service, and its trouble.
fn with_service(node: Node, facts: &Facts, service: Service) -> Node {
    let instances = facts.instances(service);
    let is_unknown = facts.broker_problem_of(service).is_some();
    let badge = if is_unknown { String::new() } else { format!("×\u{202f}{instances}") };
    let (tone, reason) = match facts.trouble(service) {
        None => (node.tone, node.note),
        Some(Trouble::NoConsumer(queues)) if instances == 0 => {
            let is_all = queues.len() == facts.queues_of(service).count();
            let reason =
                if is_all { "Not running: no queue has a consumer" } else { "A queue has no consumer" };
            (Some(Tone::Person), reason.to_owned())
        }
        Some(Trouble::NoConsumer(queues)) => {
            (Some(Tone::Person), format!("No consumer on {}", queues.join(", ")))
        }
        Some(Trouble::Stalled(_, time)) => {
            (Some(Tone::Person), format!("Completes nothing for {}", duration(time)))
        }
    };
    Node { tone, badge, note: reason, ..node }
}

fn transformer(facts: &Facts) -> Node {
    let node = Node::application("Transformer");
    if facts.broker_problem_of(Service::Transformer).is_some() {
        return node.unknown(None);
    }
    let total: f64 = facts.readings_of(Service::Transformer).map(|(_, reading)| reading.rate).sum();
    let meter = Meter { value: rate(total), unit: "events per second".to_owned(), ..Meter::default() };
    with_service(Node { meters: vec![meter], ..node }, facts, Service::Transformer)
}

fn marketing(facts: &Facts) -> Node {
    let node = Node::application("Marketing");
    let node = match &facts.marketing {
        Err(reason) => node.unknown(Some(reason)),
        Ok(marketing) => {
            let detail = marketing.last_arrival.map(|age| format!("last row {} ago", duration(age)));
            let meter = Meter {
                value: rate(marketing.rate),
                unit: "new rows per second".to_owned(),
                detail: detail.unwrap_or_else(|| "no rows yet".to_owned()),
                past: line(&marketing.past),
                queue: None,
            };
            Node { meters: vec![meter], ..node }
        }
    };
    with_service(node, facts, Service::Marketing)
}

fn letters(facts: &Facts) -> LettersPart {
    let unreadable = facts.unreadable_broker();
    let total = facts.letter_count();
    if let (Some(broker), 0) = (unreadable, total) {
        let note = format!("{broker} cannot be read, so there may be some.");
        return LettersPart { total: 0, title: "Dead letters".to_owned(), groups: Vec::new(), note };
    }
    let title = if total == 0 { "No dead letters".to_owned() } else { count(total, "dead letter") };
    let (groups, mut note) = match &facts.letters {
        Err(reason) => (Vec::new(), format!("They cannot be read. {reason}.")),
        Ok(letters) => {
            let row = |group: &LetterGroup| GroupRow {
                url: super::group_url(&group.queue, &group.reason),
                queue: group.queue.clone(),
                reason: group.reason.clone(),
                letters: thousands(group.letters),
                first: group.first.map_or_else(String::new, |first| time(first, facts.at)),
                last: group.last.map_or_else(String::new, |last| time(last, facts.at)),
                passing: group.passing,
                failing: group.letters - group.passing,
            };
            let groups: Vec<_> = letters.groups.iter().map(row).collect();
            let listed: u64 = letters.groups.iter().map(|group| group.letters).sum();
            let read_at = letters.read_at.format("%H:%M:%S");
            let note = match listed == total {
                true if total == 0 => String::new(),
                true => format!("Checked with the code of this release at {read_at}."),
                false => format!("The list is from {read_at}. Newer letters follow within a minute."),
            };
            (groups, note)
        }
    };
    if let Some(broker) = unreadable {
        note = format!("{note} {broker} cannot be read, so there may be more.");
    }
    LettersPart { total, title, groups, note }
}

fn checks(facts: &Facts) -> Vec<(&'static str, String)> {
    let watch = &facts.watch;
    let Some(age) = watch.check_age else {
        return vec![("Last check", "none yet".to_owned())];
    };
    let repairs = if watch.repairs { "by replay" } else { "off" };
    vec![
        ("Last check", format!("{} ago", duration(age))),
        ("Customers that differ", thousands(watch.differing)),
        ("Lost", thousands(watch.lost)),
        ("Repairs", repairs.to_owned()),
    ]
}

fn objective(facts: &Facts) -> ObjectivePart {
    let (value, is_met, mut rows) = match &facts.objective {
        Err(reason) => (Err(format!("It cannot be computed. {reason}.")), true, Vec::new()),
        Ok(tally) => {
            let value =
                tally.percentage().ok_or_else(|| "There are no registrations in the last hour.".to_owned());
            let sample = if tally.is_sample { " (a sample)" } else { "" };
            let rows = vec![
                ("Registrations".to_owned(), format!("{}{sample}", thousands(tally.compared))),
                ("Late, or not there".to_owned(), thousands(tally.late)),
                ("May be late".to_owned(), thousands(tally.budget())),
            ];
            (value, tally.is_met(), if tally.compared > 0 { rows } else { Vec::new() })
        }
    };
    rows.extend(facts.probes().map(|(queue, probe)| (probe_name(queue), probe_text(probe, facts))));
    ObjectivePart { value, is_met, facts: rows }
}

/// Returns the name of a probe: the queue without its service.
fn probe_name(queue: &str) -> String {
    format!("Probe, {}", queue.split_once('.').map_or(queue, |(_, name)| name))
}

/// Returns the time that a probe took, and the time since it was sent.
fn probe_text(probe: Option<ProbeArrival>, facts: &Facts) -> String {
    let Some(ProbeArrival { sent_at, arrived_at }) = probe else { return "none yet".to_owned() };
    let latency = (arrived_at - sent_at).num_milliseconds().max(0);
    let age = (facts.at - sent_at).to_std().unwrap_or_default();
    let latency = match latency {
        0..10_000 => format!("{}\u{a0}ms", thousands(latency.unsigned_abs())),
        _ => duration(Duration::from_millis(latency.unsigned_abs())),
    };
    format!("{latency}, {} ago", duration(age))
}

fn alerts_part(alerts: &Reading<Vec<Alert>>, facts: &Facts) -> AlertsPart {
    let alerts = match alerts {
        Ok(alerts) => alerts,
        Err(reason) => {
            let note = format!("Prometheus cannot be read. {reason}.");
            return AlertsPart { title: "Alerts".to_owned(), needs_person: false, alerts: Vec::new(), note };
        }
    };
    let title = if alerts.is_empty() {
        "No active alerts".to_owned()
    } else {
        count(alerts.len() as u64, "active alert")
    };
    let row = |alert: &Alert| AlertRow {
        name: alert.name.clone(),
        summary: alert.summary.clone(),
        since: duration((facts.at - alert.since).to_std().unwrap_or_default()),
        is_page: alert.is_page,
        runbook: alert.runbook.clone(),
    };
    let needs_person = alerts.iter().any(|alert| alert.is_page);
    AlertsPart { title, needs_person, alerts: alerts.iter().map(row).collect(), note: String::new() }
}
