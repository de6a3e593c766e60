//! Operations: move exactly the selected letters, and can continue after a crash.
//!
//! The journal has the letters of an operation before the first of them moves. Each letter is published to its
//! destination, and removed from its place after the broker's confirm. So the place shows which letters are still to be
//! moved, and a continued operation needs no other state. A crash between both steps sends a message twice, under the
//! same id and with the same effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use messaging::{HeldQueue, Incoming, MessageCopy, PublishOutcome, Session};
use readers::{connections::Brokers, letter_queue};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    inventory::{self, KEPT, Place},
    journal::{Action, EXCHANGE, Event, Journal, SelectedLetter, hash},
    letter::{DEAD_LETTERS, KEPT_BY, KEPT_FROM, Letter, LetterId},
};

/// The letters in one entry of the journal.
const LETTERS_PER_ENTRY: usize = 1000;

/// The largest number of letters, and of their bytes, that are published before the broker has confirmed them.
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The time after which an operation releases the letters that it holds, and starts again. Other consoles wait
/// meanwhile, and the broker ends a consumer that holds a message for 30 minutes.
const ROUND: Duration = Duration::from_mins(1);

/// An operation with the ids of its letters, by the queue that has them.
#[derive(Debug)]
pub struct Operation {
    /// The id, as in the journal.
    pub id: Uuid,
    /// The effect on the letters.
    pub action: Action,
    rate: Option<u32>,
    letters: BTreeMap<String, BTreeSet<LetterId>>,
    /// The new body of an edited letter.
    body: Option<Vec<u8>>,
    /// Whether an interrupted execution may have moved some of the letters.
    pub is_resumed: bool,
}

/// The end of an operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All letters that were there have been moved.
    Finished {
        /// The number of moved letters.
        moved: u64,
        /// The number of letters that were not there.
        absent: u64,
    },
    /// An operator cancelled the operation.
    Cancelled,
}

/// The reason for the end of a round.
#[derive(Debug, PartialEq, Eq)]
enum RoundEnd {
    EndOfQueue,
    TimeUp,
    Cancelled,
}

impl Operation {
    /// Writes a new operation to the journal. `selection` describes the choice of its letters.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be written. No letter has moved then.
    pub async fn start(
        journal: &mut Journal,
        action: Action,
        letters: &[(String, Letter)],
        selection: &str,
        rate: Option<u32>,
        why: Option<&str>,
    ) -> anyhow::Result<Self> {
        let id = Uuid::now_v7();
        let mut selected: BTreeMap<String, BTreeMap<LetterId, Option<String>>> = BTreeMap::new();
        for (place, letter) in letters {
            selected.entry(place.clone()).or_default().insert(letter.id, letter.message_id.clone());
        }
        let count = selected.values().map(|letters| letters.len() as u64).sum();
        let (selection, why) = (selection.to_owned(), why.map(str::to_owned));
        journal.append(id, Event::Started { action, selection, letters: count, rate, why }).await?;
        for (place, letters) in &selected {
            let letters: Vec<_> = letters
                .iter()
                .map(|(letter, message_id)| SelectedLetter {
                    letter: *letter,
                    message_id: message_id.clone(),
                })
                .collect();
            for part in letters.chunks(LETTERS_PER_ENTRY) {
                let event = Event::Selected { queue: place.clone(), letters: part.to_vec() };
                journal.append(id, event).await?;
            }
        }
        let ids = |letters: BTreeMap<LetterId, _>| letters.into_keys().collect();
        let letters = selected.into_iter().map(|(place, letters)| (place, ids(letters))).collect();
        Ok(Self { id, action, rate, letters, body: None, is_resumed: false })
    }

    /// Returns the operation with the new body of its letter, and writes the hash of the body to the journal.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be written.
    pub async fn with_body(self, journal: &mut Journal, body: Vec<u8>) -> anyhow::Result<Self> {
        journal.append(self.id, Event::Edited { body: hash(&body) }).await?;
        Ok(Self { body: Some(body), ..self })
    }

    /// Returns an interrupted operation, and writes to the journal that it continues.
    ///
    /// # Errors
    /// Returns an error if the operation is unknown, has ended, or had not selected its letters before the interruption.
    pub async fn resume(journal: &mut Journal, id: Uuid) -> anyhow::Result<Self> {
        let operation = Self::unfinished(journal, id)?;
        ensure!(
            operation.action != Action::Edit,
            "the journal has no bodies, so an edit cannot continue. The letter is still there unless it was sent; edit it again"
        );
        journal.append(id, Event::Resumed).await?;
        Ok(Self { is_resumed: true, ..operation })
    }

    /// Writes to the journal that an operation ends. A console that executes it notices that.
    ///
    /// # Errors
    /// Returns an error if the operation is unknown or has ended.
    pub async fn cancel(journal: &mut Journal, id: Uuid) -> anyhow::Result<()> {
        Self::find(journal, id)?;
        journal.append(id, Event::Cancelled).await
    }

    /// Returns an operation that has selected its letters and has not ended.
    ///
    /// # Errors
    /// Returns an error if the operation is unknown, has ended, or had not selected its letters before an interruption.
    pub fn unfinished(journal: &Journal, id: Uuid) -> anyhow::Result<Self> {
        let (operation, expected) = Self::find(journal, id)?;
        ensure!(
            operation.count() == expected,
            "operation {id} was interrupted before it had selected its letters, so it has moved none; start it again"
        );
        Ok(operation)
    }

    /// Returns an operation that has not ended, with the number of letters that it was to select.
    fn find(journal: &Journal, id: Uuid) -> anyhow::Result<(Self, u64)> {
        let mut found = None;
        for entry in journal.entries().filter(|entry| entry.operation == id) {
            match (&entry.event, &mut found) {
                (Event::Started { action, letters, rate, .. }, _) => {
                    let operation = Self {
                        id,
                        action: *action,
                        rate: *rate,
                        letters: BTreeMap::new(),
                        body: None,
                        is_resumed: false,
                    };
                    found = Some((operation, *letters));
                }
                (Event::Selected { queue, letters }, Some((operation, _))) => {
                    let ids = letters.iter().map(|selected| selected.letter);
                    operation.letters.entry(queue.clone()).or_default().extend(ids);
                }
                (Event::Finished { .. }, _) => bail!("operation {id} has finished"),
                (Event::Cancelled, _) => bail!("operation {id} was cancelled"),
                _ => {}
            }
        }
        found.with_context(|| format!("the journal has no operation {id}"))
    }

    /// Returns the number of letters.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.letters.values().map(|letters| letters.len() as u64).sum()
    }

    /// Returns whether a letter at this place is one of its letters.
    #[must_use]
    pub fn contains(&self, place: &str, letter: LetterId) -> bool {
        self.letters.get(place).is_some_and(|letters| letters.contains(&letter))
    }

    /// Returns the places that can have its letters.
    #[must_use]
    pub fn places<'a>(&self, brokers: &'a Brokers) -> Vec<Place<'a>> {
        match self.action {
            Action::Restore => inventory::kept_letters(brokers),
            Action::Erase => inventory::all_letters(brokers),
            Action::Retry | Action::Edit | Action::Discard => inventory::dead_letters(brokers),
        }
    }

    /// Moves the letters, and writes the outcome to the journal.
    ///
    /// # Errors
    /// Returns an error if a server fails, or if a destination does not take a letter. The remaining letters stay, and
    /// the operation can be resumed.
    pub async fn execute(&self, journal: &mut Journal, places: &[Place<'_>]) -> anyhow::Result<Outcome> {
        let mut moved = BTreeSet::new();
        let start = Instant::now();
        for place in places {
            let Some(letters) = self.letters.get(&place.name) else { continue };
            let mut local = PlaceOperation::open(self, place, letters, start, &mut moved).await?;
            loop {
                match local.run(journal).await? {
                    RoundEnd::EndOfQueue => break,
                    RoundEnd::TimeUp => {}
                    RoundEnd::Cancelled => return Ok(Outcome::Cancelled),
                }
            }
        }
        let moved = moved.len() as u64;
        let absent = self.count() - moved;
        journal.append(self.id, Event::Finished { moved, absent }).await?;
        Ok(Outcome::Finished { moved, absent })
    }

    fn is_cancelled(&self, journal: &Journal) -> bool {
        let entries = journal.entries().rev().take_while(|entry| entry.operation >= self.id);
        entries.into_iter().any(|entry| entry.operation == self.id && entry.event == Event::Cancelled)
    }

    /// Returns the messages that replace a letter, each with the queue that receives it.
    fn replacements(
        &self,
        place: &Place<'_>,
        message: &Incoming,
    ) -> anyhow::Result<Vec<(String, MessageCopy)>> {
        let work_queue = || place.name.strip_suffix(DEAD_LETTERS).unwrap_or(&place.name).to_owned();
        let kept = || {
            let copy = message.copy().with_header(KEPT_FROM, &place.name);
            (KEPT.to_owned(), copy.with_header(KEPT_BY, &self.id.to_string()))
        };
        Ok(match self.action {
            Action::Retry => vec![(work_queue(), message.original())],
            Action::Discard => vec![kept()],
            Action::Erase => Vec::new(),
            Action::Edit => {
                let body = self.body.clone().context("the edited body is missing")?;
                vec![kept(), (work_queue(), message.original().with_body(body))]
            }
            Action::Restore => {
                let from = message.header(KEPT_FROM).context("a kept letter has no queue")?;
                vec![(from.to_owned(), message.copy().without_headers(&[KEPT_FROM, KEPT_BY]))]
            }
        })
    }
}

/// Moves the letters of one place.
struct PlaceOperation<'a> {
    operation: &'a Operation,
    place: &'a Place<'a>,
    letters: &'a BTreeSet<LetterId>,
    session: Session,
    start: Instant,
    moved: &'a mut BTreeSet<LetterId>,
}

impl<'a> PlaceOperation<'a> {
    /// Connects, and binds the destinations.
    async fn open(
        operation: &'a Operation,
        place: &'a Place<'a>,
        letters: &'a BTreeSet<LetterId>,
        start: Instant,
        moved: &'a mut BTreeSet<LetterId>,
    ) -> anyhow::Result<Self> {
        let session = Session::open(place.broker, "console moves").await?;
        session.declare_direct_exchange(EXCHANGE).await?;
        let destinations: Vec<String> = match operation.action {
            Action::Retry | Action::Edit => place.queues.iter().map(|queue| queue.name.to_owned()).collect(),
            Action::Restore => place.queues.iter().map(|queue| queue.dead_letter_queue()).collect(),
            Action::Discard | Action::Erase => Vec::new(),
        };
        for queue in &destinations {
            let exists = session.bind_by_name(queue, EXCHANGE).await?;
            ensure!(
                exists || operation.action == Action::Restore,
                "the queue {queue} does not exist; start its service, which creates it"
            );
        }
        if matches!(operation.action, Action::Edit | Action::Discard) {
            session.declare_storage(KEPT).await?;
            session.bind_by_name(KEPT, EXCHANGE).await?;
        }
        Ok(Self { operation, place, letters, session, start, moved })
    }

    /// Moves letters until the end of the queue, until the round has taken its time, or until an operator cancels.
    async fn run(&mut self, journal: &mut Journal) -> anyhow::Result<RoundEnd> {
        let Some(mut held) = letter_queue::hold(self.place.broker, &self.place.name).await? else {
            return Ok(RoundEnd::EndOfQueue);
        };
        let end = self.move_letters(&mut held, journal).await?;
        held.release().await?;
        Ok(end)
    }

    async fn move_letters(
        &mut self,
        held: &mut HeldQueue,
        journal: &mut Journal,
    ) -> anyhow::Result<RoundEnd> {
        let round_start = Instant::now();
        let max_batch =
            self.operation.rate.map_or(MAX_BATCH, |rate| MAX_BATCH.min(rate.div_ceil(4) as usize));
        loop {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < max_batch && bytes < MAX_BATCH_BYTES {
                let Some(message) = held.next().await? else { break };
                let id = Letter::of(&self.place.name, &message).id;
                if self.letters.contains(&id) {
                    bytes += message.body().len();
                    batch.push((id, message));
                }
            }
            if batch.is_empty() {
                return Ok(RoundEnd::EndOfQueue);
            }
            journal.catch_up().await?;
            if self.operation.is_cancelled(journal) {
                return Ok(RoundEnd::Cancelled);
            }
            self.move_batch(held, batch).await?;
            self.wait_for_rate().await;
            if round_start.elapsed() > ROUND {
                return Ok(RoundEnd::TimeUp);
            }
        }
    }

    async fn move_batch(
        &mut self,
        held: &mut HeldQueue,
        batch: Vec<(LetterId, Incoming)>,
    ) -> anyhow::Result<()> {
        let mut copies = Vec::with_capacity(batch.len());
        for (_, message) in &batch {
            copies.extend(self.operation.replacements(self.place, message)?);
        }
        let published = self.session.publish_copies(EXCHANGE, &copies).await?;
        match published {
            PublishOutcome::Confirmed => {}
            PublishOutcome::Returned => bail!("a destination of {} does not exist any more", self.place.name),
            PublishOutcome::Nacked => bail!("a destination of {} is full or unavailable", self.place.name),
        }
        for (id, message) in batch {
            held.remove(&message).await?;
            self.moved.insert(id);
        }
        Ok(())
    }

    /// Waits until the letters that have moved are no more than the rate allows.
    async fn wait_for_rate(&self) {
        let Some(rate) = self.operation.rate else { return };
        let moved = u32::try_from(self.moved.len()).unwrap_or(u32::MAX);
        let due = Duration::from_secs(1) * moved / rate;
        sleep(due.saturating_sub(self.start.elapsed())).await;
    }
}
