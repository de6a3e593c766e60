//! Looks for those who were nowhere, in the order in which messages move, so that nobody slips by.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::topology::{QUEUES, Queue, WEB_STORE_EVENTS};
use messaging::{BrokerUrl, Incoming, Session};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::marketing::Marketing;
use super::report::DeadLetters;
use super::sources::Sources;
use super::unaccounted::{Place, Unaccounted};
use super::web_store::WebStore;

/// On a healthy system whoever is on the way has arrived soon, and no queue has to be looked into.
const ARRIVING: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
];

/// Between two looks at Marketing's table while somebody is still nowhere.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks for all candidates, and counts the dead letters, which nobody but a person takes away.
///
/// What a service holds in its hands is not to be seen from outside, so whoever is nowhere is looked for
/// again until patience ends. As a look into a queue counts as a delivery, these become rarer.
pub(super) async fn search(
    books: &Sources,
    web_store: &mut WebStore,
    marketing: &mut Marketing,
    candidates: &mut Unaccounted,
) -> Result<DeadLetters> {
    let mut search = Search { books, web_store, marketing, candidates };
    for pause in ARRIVING {
        search.pause(pause).await?;
    }
    let give_up = Instant::now() + books.patience;
    let mut looks_until_queues = 1;
    loop {
        let dead_letters = search.everywhere().await?;
        if search.candidates.all_found() || Instant::now() >= give_up {
            return Ok(dead_letters);
        }
        for _ in 0..looks_until_queues {
            let left = give_up.saturating_duration_since(Instant::now());
            search.pause(LOOK_AGAIN.min(left)).await?;
        }
        looks_until_queues *= 2;
    }
}

struct Search<'a> {
    books: &'a Sources,
    web_store: &'a mut WebStore,
    marketing: &'a mut Marketing,
    candidates: &'a mut Unaccounted,
}

impl Search<'_> {
    /// Lets messages move, and looks who has arrived.
    async fn pause(&mut self, pause: Duration) -> Result<()> {
        if !self.candidates.all_found() {
            sleep(pause).await;
            self.at_marketing().await?;
        }
        Ok(())
    }

    /// Who moves on while this looks is found further along.
    async fn everywhere(&mut self) -> Result<DeadLetters> {
        let mut dead_letters = DeadLetters::default();
        let books = self.books;
        let broker = |queue: &Queue| match queue.exchange {
            WEB_STORE_EVENTS => books.source(),
            _ => books.target(),
        };
        self.in_outbox().await?;
        for (n, queue) in (0..).zip(QUEUES) {
            if !self.candidates.all_found() {
                peek(broker(queue), queue.name, |message| {
                    if let Some(customer) = customer(message) {
                        self.candidates.found(customer, Place::Queue(n));
                    }
                })
                .await?;
            }
        }
        for queue in QUEUES {
            let letters = queue.dead_letter_queue();
            let mut reasons = BTreeMap::new();
            peek(broker(queue), &letters, |letter| {
                let reason = letter.rejection_code().unwrap_or("no-reason");
                *reasons.entry(reason.to_owned()).or_default() += 1;
                if let Some(customer) = customer(letter) {
                    let place = self.candidates.dead_letters(reason);
                    self.candidates.found(customer, place);
                }
            })
            .await?;
            if !reasons.is_empty() {
                dead_letters.insert(letters, reasons);
            }
        }
        self.at_marketing().await?;
        Ok(dead_letters)
    }

    async fn in_outbox(&mut self) -> Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = self.candidates.nowhere(after, self.books.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            for id in self.web_store.in_outbox(&ids).await? {
                self.candidates.found(id, Place::Outbox);
            }
        }
    }

    async fn at_marketing(&mut self) -> Result<()> {
        let mut after = Uuid::nil();
        loop {
            let ids = self.candidates.nowhere(after, self.books.page);
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            for (id, rows) in self.marketing.count(&ids).await? {
                self.candidates.found(id, if rows > 1 { Place::Doubled } else { Place::Marketing });
            }
        }
    }
}

/// By a connection of its own, which gives everything back when it is closed.
async fn peek(broker: &BrokerUrl, queue: &str, see: impl FnMut(&Incoming)) -> Result<()> {
    let session = Session::open(broker, "stack reconcile").await?;
    session.peek(queue, see).await.with_context(|| format!("looking into {queue}"))
}

/// Whom a message is about, whatever else it says.
fn customer(message: &Incoming) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct About {
        customer_id: Uuid,
    }
    serde_json::from_slice::<About>(message.body()).ok().map(|about| about.customer_id)
}
