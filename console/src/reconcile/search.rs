//! The search for unaccounted customers, in the order in which messages move.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use contracts::topology::{QUEUES, Queue, WEB_STORE_EVENTS};
use messaging::{BrokerUrl, Incoming, Session};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    marketing::Marketing,
    report::DeadLetterCounts,
    sources::Sources,
    unaccounted::{Location, Unaccounted},
    web_store::WebStore,
};

/// Delays before the first inspection of a queue. On a healthy system the customers arrive meanwhile, and no
/// queue needs to be inspected.
const INITIAL_DELAYS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
];

/// The interval between two queries of Marketing's table.
const QUERY_INTERVAL: Duration = Duration::from_secs(1);

/// Locates the unaccounted customers. Returns the number of dead letters.
///
/// Messages that a service holds unacknowledged are invisible. So the search repeats until `patience` ends.
/// Each inspection of a queue counts as a delivery, so the intervals between inspections double.
pub(super) async fn locate(
    sources: &Sources,
    web_store: &mut WebStore,
    marketing: &mut Marketing,
    unaccounted: &mut Unaccounted,
) -> anyhow::Result<DeadLetterCounts> {
    let mut search = Search { sources, web_store, marketing, unaccounted };
    for delay in INITIAL_DELAYS {
        search.wait_for_arrivals(delay).await?;
    }
    let deadline = Instant::now() + sources.patience;
    let mut queries_until_inspection = 1;
    loop {
        let dead_letters = search.inspect_all().await?;
        if search.unaccounted.is_complete() || Instant::now() >= deadline {
            return Ok(dead_letters);
        }
        for _ in 0..queries_until_inspection {
            let remaining = deadline.saturating_duration_since(Instant::now());
            search.wait_for_arrivals(QUERY_INTERVAL.min(remaining)).await?;
        }
        queries_until_inspection *= 2;
    }
}

struct Search<'a> {
    sources: &'a Sources,
    web_store: &'a mut WebStore,
    marketing: &'a mut Marketing,
    unaccounted: &'a mut Unaccounted,
}

impl Search<'_> {
    /// Waits, and then locates the customers that have arrived.
    async fn wait_for_arrivals(&mut self, delay: Duration) -> anyhow::Result<()> {
        if !self.unaccounted.is_complete() {
            sleep(delay).await;
            self.inspect_marketing().await?;
        }
        Ok(())
    }

    /// Inspects all locations in the order in which messages move. A message that moves on meanwhile is found
    /// at a later location.
    async fn inspect_all(&mut self) -> anyhow::Result<DeadLetterCounts> {
        let mut dead_letters = DeadLetterCounts::default();
        let sources = self.sources;
        let broker = |queue: &Queue| match queue.exchange {
            WEB_STORE_EVENTS => sources.source_broker(),
            _ => sources.target_broker(),
        };
        self.inspect_outbox().await?;
        for (index, queue) in (0..).zip(QUEUES) {
            if !self.unaccounted.is_complete() {
                inspect_queue(broker(queue), queue.name, |message| {
                    if let Some(customer) = customer_id(message) {
                        self.unaccounted.locate(customer, Location::Queue(index));
                    }
                })
                .await?;
            }
        }
        for queue in QUEUES {
            let dead_letter_queue = queue.dead_letter_queue();
            let mut reasons = BTreeMap::new();
            inspect_queue(broker(queue), &dead_letter_queue, |letter| {
                let reason = letter.rejection_code().unwrap_or("no-reason");
                *reasons.entry(reason.to_owned()).or_default() += 1;
                if let Some(customer) = customer_id(letter) {
                    let location = self.unaccounted.dead_letters(reason);
                    self.unaccounted.locate(customer, location);
                }
            })
            .await?;
            if !reasons.is_empty() {
                dead_letters.insert(dead_letter_queue, reasons);
            }
        }
        self.inspect_marketing().await?;
        Ok(dead_letters)
    }

    async fn inspect_outbox(&mut self) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = self.unaccounted.without_location(after, self.sources.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            for id in self.web_store.in_outbox(&ids).await? {
                self.unaccounted.locate(id, Location::Outbox);
            }
        }
    }

    async fn inspect_marketing(&mut self) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = self.unaccounted.without_location(after, self.sources.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            for (id, rows) in self.marketing.count(&ids).await? {
                let location = if rows > 1 { Location::Duplicated } else { Location::Marketing };
                self.unaccounted.locate(id, location);
            }
        }
    }
}

/// Passes every ready message of a queue to `inspect`. Closing the connection returns the messages.
async fn inspect_queue(
    broker: &BrokerUrl,
    queue: &str,
    inspect: impl FnMut(&Incoming),
) -> anyhow::Result<()> {
    let session = Session::open(broker, "console reconcile").await?;
    session.peek(queue, inspect).await.with_context(|| format!("cannot inspect {queue}"))
}

/// Returns the customer's id in a message of any type.
fn customer_id(message: &Incoming) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Body {
        customer_id: Uuid,
    }
    serde_json::from_slice::<Body>(message.body()).ok().map(|body| body.customer_id)
}
