//! The first line of the page: a sentence about the system, with its cause.

use super::{
    facts::{Facts, Service, Trouble},
    format::{count, duration, thousands},
};

/// The growth per second that counts as growing or shrinking.
const STEADY: f64 = 0.5;

/// The state of the system in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) tone: Tone,
    pub(super) headline: String,
    /// Sentences that explain the headline.
    pub(super) details: Vec<String>,
    /// The headline without its numbers, for the announcement of changes.
    pub(super) topic: &'static str,
}

/// What the state asks of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing.
    Calm,
    /// Nothing: messages wait, and the system continues by itself.
    Waiting,
    /// The console cannot see a part of the system.
    Unknown,
    /// A person has to act.
    Person,
}

impl Tone {
    /// Returns the name of the tone in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
            Self::Person => "person",
        }
    }
}

/// Returns the sentence about these facts.
pub(super) fn sentence(facts: &Facts) -> Sentence {
    let late = late(facts);
    let unreadable = unreadable(facts);
    let causes = causes(facts);
    let letters = letters(facts);
    let lost = lost(facts);
    let paused = paused(facts);
    let tone = if !causes.is_empty() || letters.is_some() || (lost.is_some() && !facts.watch.repairs) {
        Tone::Person
    } else if !unreadable.is_empty() {
        Tone::Unknown
    } else if late.is_some() || lost.is_some() || paused.is_some() {
        Tone::Waiting
    } else {
        Tone::Calm
    };
    let is_late = late.is_some();
    let has_exceptions = letters.is_some() || lost.is_some();
    // While a service is stuck or paused, waiting messages do not arrive.
    let is_stopped = !causes.is_empty() || paused.is_some();
    let is_rest_known = !facts.is_way_unknown() && !is_late && (!is_stopped || facts.waiting() == 0);
    let mut parts: Vec<(&'static str, String)> = late.into_iter().collect();
    if is_late && lost.is_none() && facts.watch.is_current() {
        parts.push(("nothing is lost", "Nothing is lost.".to_owned()));
    }
    parts.extend(unreadable);
    parts.extend(causes);
    parts.extend(paused);
    parts.extend(letters);
    parts.extend(lost);
    if is_rest_known {
        parts.push(rest(facts, has_exceptions));
    }
    let mut parts = parts.into_iter();
    let (topic, headline) = parts.next().unwrap_or_default();
    Sentence { tone, headline, details: parts.map(|(_, text)| text).collect(), topic }
}

/// Returns how far Marketing is behind.
fn late(facts: &Facts) -> Option<(&'static str, String)> {
    let behind = duration(facts.behind()?);
    let growth = facts.growth();
    Some(if growth > STEADY {
        ("Marketing is behind and growing.", format!("Marketing is {behind} behind and growing."))
    } else if growth < -STEADY {
        ("Marketing is behind and catching up.", format!("Marketing is {behind} behind and catching up."))
    } else {
        ("Marketing is behind.", format!("Marketing is {behind} behind."))
    })
}

/// Returns a sentence for each server that the console cannot read.
fn unreadable(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    if facts.web_store.is_err() {
        let text = "The Web Store’s database cannot be read.";
        parts.push((text, text.to_owned()));
    }
    if let Some(broker) = facts.unreadable_broker() {
        let outbox = facts.web_store.as_ref().map_or(0, |facts| facts.fresh + facts.parked);
        let is_outbox_blocked = facts.broker_problem_of(Service::Transformer).is_some() && outbox > 0;
        let outbox = if is_outbox_blocked { " Events wait in the outbox." } else { "" };
        parts.push(("A broker cannot be read.", format!("{broker} cannot be read.{outbox}")));
    }
    if facts.marketing.is_err() {
        let text = "Marketing’s database cannot be read.";
        parts.push((text, text.to_owned()));
    }
    parts
}

/// Returns a sentence about the subscriptions that an operator has paused.
fn paused(facts: &Facts) -> Option<(&'static str, String)> {
    let queues = facts.paused();
    let verb = if queues.len() == 1 { "is" } else { "are" };
    (!queues.is_empty()).then(|| {
        ("A subscription is paused.", format!("{} {verb} paused by an operator.", queues.join(" and ")))
    })
}

/// Returns a sentence for each condition of the way that only a person can end.
fn causes(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    if facts.is_outbox_stuck() {
        let parked = facts.web_store.as_ref().map_or(0, |facts| facts.parked);
        parts.push(if parked > 0 {
            let events = count(parked, "event");
            ("The broker refuses events.", format!("The broker refuses {events} of the outbox."))
        } else {
            let text = "No Web Store sends the events of the outbox.";
            (text, text.to_owned())
        });
    }
    for service in [Service::Transformer, Service::Marketing] {
        parts.extend(facts.trouble(service).map(|trouble| match trouble {
            Trouble::NoConsumer(queues) => {
                let topic = match service {
                    Service::Transformer => "The transformer has no consumer.",
                    Service::Marketing => "Marketing has no consumer.",
                };
                (topic, format!("No consumer on {}.", queues.join(" and ")))
            }
            Trouble::Stalled(queue, time) => {
                let topic = match service {
                    Service::Transformer => "The transformer is stuck.",
                    Service::Marketing => "Marketing is stuck.",
                };
                let (name, time) = (service.name(), duration(time));
                (topic, format!("{name} has completed no message of {queue} for {time}."))
            }
        }));
    }
    parts.extend(facts.ceased_probes().map(|(queue, time)| {
        let text = format!("No probe of the Web Store has reached {queue} for {}.", duration(time));
        ("Probes have ceased.", text)
    }));
    parts
}

fn letters(facts: &Facts) -> Option<(&'static str, String)> {
    let letters = facts.letter_count();
    let need = if letters == 1 { "needs" } else { "need" };
    (letters > 0).then(|| {
        ("Dead letters need a person.", format!("{} {need} a person.", count(letters, "dead letter")))
    })
}

/// Returns the sentence about messages that the watch has found lost.
fn lost(facts: &Facts) -> Option<(&'static str, String)> {
    let lost = facts.watch.lost;
    let are = if lost == 1 { "message is" } else { "messages are" };
    let (topic, effect) = if facts.watch.repairs {
        ("Messages are lost and requested again.", "lost and requested again")
    } else {
        ("Messages are lost.", "lost, and repairs are off")
    };
    (lost > 0).then(|| (topic, format!("{} {are} {effect}.", thousands(lost))))
}

/// Returns the sentence about the customers that nothing delays.
fn rest(facts: &Facts, has_exceptions: bool) -> (&'static str, String) {
    let text = match (facts.waiting() == 0, has_exceptions) {
        (true, false) => "All customers are in Marketing.",
        (true, true) => "All other customers are in Marketing.",
        (false, false) => "Customers arrive in Marketing within seconds.",
        (false, true) => "Other customers arrive in Marketing within seconds.",
    };
    (text, text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use chrono::{TimeDelta, Utc};
    use contracts::{
        operations::{ProbeArrival, SubscriptionState},
        topology::{MARKETING_CREATE_CUSTOMER, QUEUES},
    };

    use super::{Sentence, Tone, sentence};
    use crate::page::{
        facts::{Facts, Letters, MarketingFacts, QueueFacts, WatchFacts, WebStoreFacts},
        history::{Age, QueueReading},
        objective::Tally,
    };

    fn reading() -> QueueReading {
        QueueReading {
            waiting: 0,
            consumers: 1,
            reporting: 1,
            rate: 0.0,
            growth: 0.0,
            drain: 0.0,
            oldest: None,
            stalled: Duration::ZERO,
            subscription: SubscriptionState::Running,
            probe: None,
            past: Vec::new(),
        }
    }

    /// Returns the facts of an idle system.
    fn idle() -> Facts {
        Facts {
            at: Utc::now(),
            web_store: Ok(WebStoreFacts::default()),
            marketing: Ok(MarketingFacts::default()),
            queues: QUEUES.iter().map(|queue| QueueFacts { queue, reading: Ok(Some(reading())) }).collect(),
            dead_letters: BTreeMap::new(),
            letters: Ok(Letters::default()),
            watch: WatchFacts {
                check_age: Some(Duration::from_secs(2)),
                differing: 0,
                lost: 0,
                repairs: true,
            },
            journal: Ok(Arc::default()),
            objective: Ok(Tally::default()),
            alerts: None,
        }
    }

    /// Changes the reading of Marketing's queue of new customers.
    fn change(facts: &mut Facts, change: impl FnOnce(&mut QueueReading)) {
        let queue = facts.queues.iter_mut().find(|facts| *facts.queue == MARKETING_CREATE_CUSTOMER).unwrap();
        change(queue.reading.as_mut().unwrap().as_mut().unwrap());
    }

    fn text(sentence: &Sentence) -> String {
        let all: Vec<_> = [&sentence.headline].into_iter().chain(&sentence.details).cloned().collect();
        all.join(" ").replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[track_caller]
    fn check(facts: &Facts, tone: Tone, expected: &str) {
        let sentence = sentence(facts);
        assert_eq!((sentence.tone, text(&sentence).as_str()), (tone, expected));
    }

    #[test]
    fn idle_system_is_calm() {
        check(&idle(), Tone::Calm, "All customers are in Marketing.");
    }

    #[test]
    fn messages_that_pass_within_seconds_are_calm() {
        let mut facts = idle();
        change(&mut facts, |reading| {
            reading.waiting = 12;
            reading.oldest = Some(Age::Exactly(Duration::from_secs(1)));
        });
        check(&facts, Tone::Calm, "Customers arrive in Marketing within seconds.");
    }

    #[test]
    fn missing_consumer_is_the_cause_of_a_backlog() {
        let mut facts = idle();
        facts.web_store.as_mut().unwrap().first_absent = Some(Duration::from_secs(130));
        change(&mut facts, |reading| {
            *reading = QueueReading {
                waiting: 24_310,
                consumers: 0,
                growth: 187.0,
                oldest: Some(Age::AtLeast(Duration::from_secs(100))),
                ..reading.clone()
            };
        });
        let expected = "Marketing is 2 m 10 s behind and growing. Nothing is lost. \
            No consumer on marketing.create-customer.";
        check(&facts, Tone::Person, expected);

        // Only a current check is evidence that nothing is lost.
        facts.watch.check_age = Some(Duration::from_mins(5));
        let expected = "Marketing is 2 m 10 s behind and growing. No consumer on marketing.create-customer.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn paused_subscription_only_waits() {
        let mut facts = idle();
        facts.web_store.as_mut().unwrap().first_absent = Some(Duration::from_secs(130));
        change(&mut facts, |reading| {
            reading.waiting = 24_310;
            reading.consumers = 0;
            reading.subscription = SubscriptionState::Paused;
            reading.oldest = Some(Age::Exactly(Duration::from_secs(130)));
        });
        let expected = "Marketing is 2 m 10 s behind. Nothing is lost. \
            marketing.create-customer is paused by an operator.";
        check(&facts, Tone::Waiting, expected);
        change(&mut facts, |reading| {
            reading.waiting = 1;
            reading.oldest = Some(Age::Exactly(Duration::from_secs(1)));
        });
        facts.web_store.as_mut().unwrap().first_absent = Some(Duration::from_secs(1));
        check(&facts, Tone::Waiting, "marketing.create-customer is paused by an operator.");
    }

    #[test]
    fn ceased_probes_need_a_person_unless_a_cause_is_shown() {
        let mut facts = idle();
        let sent_at = facts.at - TimeDelta::seconds(40);
        change(&mut facts, |reading| reading.probe = Some(ProbeArrival { sent_at, arrived_at: sent_at }));
        let text = "No probe of the Web Store has reached marketing.create-customer for 40 s. \
            All customers are in Marketing.";
        check(&facts, Tone::Person, text);
        change(&mut facts, |reading| {
            reading.waiting = 3;
            reading.consumers = 0;
        });
        check(&facts, Tone::Person, "No consumer on marketing.create-customer.");
    }

    #[test]
    fn backlog_that_shrinks_only_waits() {
        let mut facts = idle();
        change(&mut facts, |reading| {
            reading.waiting = 500;
            reading.growth = -100.0;
            reading.oldest = Some(Age::Exactly(Duration::from_secs(40)));
        });
        check(&facts, Tone::Waiting, "Marketing is 40 s behind and catching up. Nothing is lost.");
    }

    #[test]
    fn dead_letter_of_newest_customer_is_no_delay() {
        let mut facts = idle();
        facts.web_store.as_mut().unwrap().first_absent = Some(Duration::from_hours(3));
        facts.dead_letters.insert(MARKETING_CREATE_CUSTOMER.name, 107);
        check(&facts, Tone::Person, "107 dead letters need a person. All other customers are in Marketing.");
        change(&mut facts, |reading| {
            reading.waiting = 1;
            reading.oldest = Some(Age::Exactly(Duration::ZERO));
        });
        let expected = "107 dead letters need a person. Other customers arrive in Marketing within seconds.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn idle_service_without_consumer_needs_a_person() {
        let mut facts = idle();
        change(&mut facts, |reading| reading.consumers = 0);
        let expected = "No consumer on marketing.create-customer. All customers are in Marketing.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn consumer_that_completes_nothing_needs_a_person() {
        let mut facts = idle();
        facts.marketing = Err("Connection refused".into());
        change(&mut facts, |reading| {
            reading.waiting = 20;
            reading.stalled = Duration::from_secs(30);
            reading.oldest = Some(Age::Exactly(Duration::from_secs(30)));
        });
        let expected = "Marketing is 30 s behind. Nothing is lost. Marketing’s database cannot be read. \
            Marketing has completed no message of marketing.create-customer for 30 s.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn unreadable_broker_is_unknown_and_not_red() {
        let mut facts = idle();
        facts.web_store.as_mut().unwrap().fresh = 3;
        for queue in &mut facts.queues {
            queue.reading = Err("Connection refused".into());
        }
        check(&facts, Tone::Unknown, "The broker cannot be read. Events wait in the outbox.");
    }

    #[test]
    fn unreadable_broker_of_one_site_is_named() {
        let mut facts = idle();
        facts.web_store.as_mut().unwrap().fresh = 3;
        let of_marketing = facts.queues.iter_mut().filter(|facts| facts.queue.consumer() == "marketing");
        of_marketing.for_each(|facts| facts.reading = Err("Connection refused".into()));
        check(&facts, Tone::Unknown, "Marketing’s broker cannot be read.");
        facts.web_store.as_mut().unwrap().oldest = Duration::from_secs(20);
        let expected = "Marketing is 20 s behind. Nothing is lost. Marketing’s broker cannot be read. \
            No Web Store sends the events of the outbox.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn outbox_without_relay_needs_a_person() {
        let mut facts = idle();
        let web_store = facts.web_store.as_mut().unwrap();
        (web_store.fresh, web_store.oldest) = (5, Duration::from_secs(20));
        web_store.first_absent = Some(Duration::from_secs(20));
        let expected =
            "Marketing is 20 s behind. Nothing is lost. No Web Store sends the events of the outbox.";
        check(&facts, Tone::Person, expected);
        facts.web_store.as_mut().unwrap().parked = 2;
        assert!(text(&sentence(&facts)).ends_with("The broker refuses 2 events of the outbox."));
    }

    #[test]
    fn lost_messages_need_a_person_only_without_repairs() {
        let mut facts = idle();
        facts.watch.lost = 3;
        let expected = "3 messages are lost and requested again. All other customers are in Marketing.";
        check(&facts, Tone::Waiting, expected);
        facts.watch.repairs = false;
        let expected = "3 messages are lost, and repairs are off. All other customers are in Marketing.";
        check(&facts, Tone::Person, expected);
    }

    #[test]
    fn topic_has_no_number() {
        let mut facts = idle();
        facts.dead_letters.insert(MARKETING_CREATE_CUSTOMER.name, 1);
        let one = sentence(&facts);
        facts.dead_letters.insert(MARKETING_CREATE_CUSTOMER.name, 2);
        let two = sentence(&facts);
        assert!(one.headline != two.headline && one.topic == two.topic);
    }
}
