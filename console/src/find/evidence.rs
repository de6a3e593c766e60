//! The states of customers by the rules of reconciliation, with their letters and the queues.

use std::{collections::HashMap, time::Duration};

use readers::{
    marketing::Marketing,
    web_store::{Customer, WebStore},
};
use reconciliation::{Comparison, Flow, QueueObservation, Search, State, Window, monitor};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{
    letters::{self, CustomerLetter, Wanted},
    servers::Servers,
};

/// The time in which each consumer sends several reports.
const REPORTS_TIMEOUT: Duration = Duration::from_secs(3);

/// A consumer that settles nothing in this time is stalled. A batch takes milliseconds, and reports come every second.
const STALL_TIME: Duration = Duration::from_secs(2);

/// The evidence about the places of messages.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The state of each customer, and the version that has this state. A customer without evidence is absent.
    pub(super) states: HashMap<Uuid, (i64, State)>,
    /// The queues, if a message was followed.
    pub(super) queues: Vec<QueueObservation>,
    /// The names of the queues whose consumers hold messages, and settled none during the search.
    pub(super) stalled: Vec<&'static str>,
    pub(super) letters: Vec<CustomerLetter>,
}

/// Searches the messages of the customers in the order of their way. A message that is a dead letter is not followed
/// through the queues.
pub(super) async fn gather(servers: &mut Servers<'_>, customers: &[Uuid], wanted: &Wanted) -> Evidence {
    let (letters, mut are_complete) = read_letters(servers, wanted).await;
    let mut evidence = Evidence { letters, ..Evidence::default() };
    let Some(mut window) = compare(servers, customers, &mut evidence.states).await else {
        if are_complete {
            (_, evidence.queues, evidence.stalled) = follow(servers, None).await.unwrap_or_default();
        }
        return evidence;
    };
    note_letters(&mut window, &evidence.letters);
    let mut passed = true;
    if are_complete && !window.is_explained() {
        let Some(followed) = follow(servers, Some(&mut window)).await else { return evidence };
        (passed, evidence.queues, evidence.stalled) = followed;
        (evidence.letters, are_complete) = read_letters(servers, wanted).await;
        note_letters(&mut window, &evidence.letters);
    }
    if are_complete && compare_again(servers, &mut window).await.is_some() {
        let versions: HashMap<_, _> = window.versions().collect();
        let states = window.finish(passed).map(|(id, state, _)| (id, (versions[&id], state)));
        evidence.states.extend(states);
    }
    evidence
}

async fn read_letters(servers: &mut Servers<'_>, wanted: &Wanted) -> (Vec<CustomerLetter>, bool) {
    letters::read(&servers.sources.connections.brokers, wanted, &mut servers.unreadable).await
}

fn note_letters(window: &mut Window, letters: &[CustomerLetter]) {
    letters.iter().filter_map(CustomerLetter::as_dead_letter).for_each(|letter| window.dead_letter(&letter));
}

/// Adds the states that both tables show. Returns the customers that differ, or `None` if a table cannot be read.
async fn compare(
    servers: &mut Servers<'_>,
    customers: &[Uuid],
    states: &mut HashMap<Uuid, (i64, State)>,
) -> Option<Window> {
    let registered = async |web_store: &mut WebStore| web_store.read(customers).await;
    let registered = servers.in_web_store(registered).await?;
    let rows = async |marketing: &mut Marketing| marketing.read(customers).await;
    let rows: HashMap<_, _> = servers.in_marketing(rows).await?.into_iter().collect();
    let mut window = Window::default();
    for customer in &registered {
        let Customer { id, version, in_outbox, .. } = *customer;
        let state = match Comparison::new(version, rows.get(&id)) {
            Comparison::Arrived => State::Arrived,
            Comparison::Duplicated => State::Duplicated,
            Comparison::Forgotten => State::Forgotten,
            Comparison::Different { .. } if in_outbox => State::InOutbox,
            Comparison::Different { marketing } => {
                window.push(customer, marketing);
                continue;
            }
        };
        states.insert(id, (version, state));
    }
    Some(window)
}

async fn compare_again(servers: &mut Servers<'_>, window: &mut Window) -> Option<()> {
    let (Some(web_store), Some(marketing)) = (&mut servers.web_store, &mut servers.marketing) else {
        return None;
    };
    let search = Search::new(servers.sources, watch::Sender::new(Flow::default()).subscribe());
    let compared = search.compare_again(window, web_store, marketing).await;
    compared.inspect_err(|error| servers.unreadable.note(error)).ok()
}

/// Whether all messages have passed the queues, the queues at the end, and those that are stalled.
type Followed = (bool, Vec<QueueObservation>, Vec<&'static str>);

/// Observes the queues, and follows the customers of a window through them. Returns `None` if a server cannot be read.
async fn follow(servers: &mut Servers<'_>, window: Option<&mut Window>) -> Option<Followed> {
    let sources = servers.sources;
    let flow = watch::Sender::new(Flow::default());
    let mut search = Search::new(sources, flow.subscribe());
    let (web_store, marketing) = (servers.web_store.as_mut(), servers.marketing.as_mut());
    let search = async {
        search.wait_for_observation().await;
        search.wait_for_reports(REPORTS_TIMEOUT).await;
        let (before, start) = (search.flow().queues, Instant::now());
        let passed = match (window, web_store, marketing) {
            (Some(window), Some(web_store), Some(marketing)) => {
                search.follow(window, web_store, marketing).await?
            }
            _ => false,
        };
        if !passed {
            sleep_until(start + STALL_TIME).await;
        }
        let after = search.flow().queues;
        let stalled = stalled(&before, &after);
        anyhow::Ok((passed, after, stalled))
    };
    let result = tokio::select! {
        followed = Box::pin(search) => followed,
        failed = Box::pin(monitor(sources, &flow)) => failed.map(|never| match never {}),
    };
    result.inspect_err(|error| servers.unreadable.note(error)).ok()
}

/// Returns the queues whose consumers hold messages at both times, and settled none meanwhile.
fn stalled(before: &[QueueObservation], after: &[QueueObservation]) -> Vec<&'static str> {
    let pairs = before.iter().zip(after);
    let is_stalled = |(before, after): &(&QueueObservation, &QueueObservation)| {
        before.in_flight > 0 && after.in_flight > 0 && before.settled == after.settled
    };
    pairs.filter(is_stalled).map(|(_, after)| after.queue).collect()
}
