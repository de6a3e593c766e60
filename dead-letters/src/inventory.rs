//! The places of letters: the dead-letter queues, and the queues of kept letters.

use std::mem;

use anyhow::Context;
use contracts::topology::Queue;
use messaging::{BrokerUrl, Incoming};
use readers::{
    connections::{Brokers, work_queues},
    letter_queue,
};

use crate::letter::Letter;

/// The queue that keeps the originals of discarded and edited letters.
pub(crate) const KEPT: &str = "console.kept";

/// The largest number of letters, and of their bytes, in one batch of [`Place::visit_batches`].
const MAX_BATCH: usize = 500;
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A queue with letters.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The broker with the queue.
    pub broker: &'a BrokerUrl,
    /// The name of the queue.
    pub name: String,
    /// The work queues of its letters.
    pub queues: Vec<&'static Queue>,
}

/// A selected letter with its message.
#[derive(Debug)]
pub struct FoundLetter {
    /// The queue that has the letter.
    pub place: String,
    /// The facts of the letter.
    pub letter: Letter,
    /// The message with its headers and its body.
    pub message: Incoming,
}

impl FoundLetter {
    /// Returns a letter of a place, with a copy of the message that the visit lends.
    #[must_use]
    pub fn of(place: &Place<'_>, letter: Letter, message: &Incoming) -> Self {
        Self { place: place.name.clone(), letter, message: message.copy().received() }
    }

    /// Returns the letter with another body, and without its rejection.
    #[must_use]
    pub fn with_body(&self, body: &[u8]) -> Self {
        let message = self.message.original().with_body(body.to_owned()).received();
        Self { place: self.place.clone(), letter: self.letter.clone(), message }
    }
}

/// Returns the dead-letter queues of all services.
#[must_use]
pub fn dead_letters(brokers: &Brokers) -> Vec<Place<'_>> {
    let place = |queue: &'static Queue| Place {
        broker: brokers.of(queue),
        name: queue.dead_letter_queue(),
        queues: vec![queue],
    };
    work_queues().map(place).collect()
}

/// Returns the queue of kept letters of each broker.
#[must_use]
pub fn kept_letters(brokers: &Brokers) -> Vec<Place<'_>> {
    let place = |broker| Place {
        broker,
        name: KEPT.to_owned(),
        queues: work_queues().filter(|queue| std::ptr::eq(brokers.of(queue), broker)).collect(),
    };
    brokers.all().map(place).collect()
}

/// Returns all queues with letters.
#[must_use]
pub fn all_letters(brokers: &Brokers) -> Vec<Place<'_>> {
    dead_letters(brokers).into_iter().chain(kept_letters(brokers)).collect()
}

impl Place<'_> {
    /// Passes each letter to `visit`, and puts all of them back.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be read.
    pub async fn visit(&self, mut visit: impl FnMut(Letter, &Incoming)) -> anyhow::Result<()> {
        letter_queue::peek(self.broker, &self.name, |message| {
            visit(Letter::of(&self.name, message), message);
        })
        .await
    }

    /// Passes the selected letters with their messages to `visit`, in batches, and puts all letters back. Only one batch
    /// is in memory.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be read, or the error of `visit`. The letters return to the queue also then.
    pub async fn visit_batches(
        &self,
        is_selected: impl Fn(&Letter) -> bool,
        mut visit: impl AsyncFnMut(Vec<FoundLetter>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let unreadable = || format!("{} cannot be read", self.name);
        let Some(mut held) = letter_queue::hold(self.broker, &self.name).await? else { return Ok(()) };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(message) = held.next().await.with_context(unreadable)? {
            let letter = Letter::of(&self.name, &message);
            if is_selected(&letter) {
                bytes += message.body().len();
                batch.push(FoundLetter { place: self.name.clone(), letter, message });
            }
            if batch.len() >= MAX_BATCH || bytes >= MAX_BATCH_BYTES {
                visit(mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            visit(batch).await?;
        }
        held.release().await.with_context(unreadable)
    }
}
