//! The letters that a command applies to.

use std::{collections::BTreeSet, fmt};

use clap::Args;
use dead_letters::{
    inventory::{FoundLetter, Place},
    letter::{Letter, LetterId},
};

use super::NoMatch;

/// The fewest digits of a letter's id.
const MIN_PREFIX: usize = 4;

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// Ids of letters, their first digits, or ids of messages
    #[arg(value_name = "ID", conflicts_with_all = ["all", "reason"])]
    ids: Vec<String>,
    /// All letters with this code of the reason, such as `rule-broken`
    #[arg(long, value_name = "CODE", conflicts_with = "all")]
    reason: Option<String>,
    /// All letters
    #[arg(long)]
    all: bool,
    /// Only letters from this queue, such as `marketing.create-customer`
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ids, reason, all, queue } = self;
        let queue = queue.as_ref().map(|queue| format!("--queue {queue}"));
        let reason = reason.as_ref().map(|reason| format!("--reason {reason}"));
        let all = all.then(|| "--all".to_owned());
        let parts: Vec<_> = ids.iter().cloned().chain(reason).chain(all).chain(queue).collect();
        f.write_str(&parts.join(" "))
    }
}

impl Selection {
    /// Returns the selection of one letter.
    pub(crate) fn one(id: &str) -> Self {
        Self { ids: vec![id.to_owned()], reason: None, all: false, queue: None }
    }

    /// Returns the selected letters, each with the queue that has it.
    ///
    /// # Errors
    /// Returns [`NoMatch`] if there is none, or if an id does not select exactly one. Returns an error if a broker cannot
    /// be read.
    pub(crate) async fn list(&self, places: &[Place<'_>]) -> anyhow::Result<Vec<(String, Letter)>> {
        let mut matches = Matches::of(self);
        let mut letters = Vec::new();
        for place in self.places_of(places) {
            place
                .visit(|letter, _| {
                    if self.matches(&letter) {
                        matches.note(&letter);
                        letters.push((place.name.clone(), letter));
                    }
                })
                .await?;
        }
        matches.verify()?;
        Ok(letters)
    }

    /// Passes the selected letters with their messages to `visit`, in batches, and returns their number.
    ///
    /// # Errors
    /// Returns the errors of [`Selection::list`], and those of `visit`.
    pub(crate) async fn visit(
        &self,
        places: &[Place<'_>],
        mut visit: impl AsyncFnMut(Vec<FoundLetter>) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut matches = Matches::of(self);
        for place in self.places_of(places) {
            let visit = async |batch: Vec<FoundLetter>| {
                for found in &batch {
                    matches.note(&found.letter);
                }
                visit(batch).await
            };
            place.visit_batches(|letter| self.matches(letter), visit).await?;
        }
        matches.verify()?;
        Ok(matches.letters)
    }

    /// Returns the places that can have selected letters. Only their brokers are read.
    fn places_of<'a, 'b>(&self, places: &'a [Place<'b>]) -> impl Iterator<Item = &'a Place<'b>> {
        let can_have = |place: &&Place<'_>| {
            let selects = |name: &String| place.queues.iter().any(|queue| queue.name == name);
            self.queue.as_ref().is_none_or(selects)
        };
        places.iter().filter(can_have)
    }

    fn matches(&self, letter: &Letter) -> bool {
        let is_selected = if self.ids.is_empty() {
            self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
        } else {
            self.ids.iter().any(|id| names(id, letter))
        };
        is_selected && self.queue.as_ref().is_none_or(|queue| *queue == letter.queue)
    }
}

/// The letters that match a selection.
struct Matches<'a> {
    selection: &'a Selection,
    letters: u64,
    /// The letters of each id of the selection, and whether it is the id of their message.
    by_id: Vec<(BTreeSet<LetterId>, bool)>,
}

impl<'a> Matches<'a> {
    fn of(selection: &'a Selection) -> Self {
        Self { selection, letters: 0, by_id: vec![(BTreeSet::new(), false); selection.ids.len()] }
    }

    fn note(&mut self, letter: &Letter) {
        self.letters += 1;
        for (id, (letters, is_message)) in self.selection.ids.iter().zip(&mut self.by_id) {
            if names(id, letter) {
                letters.insert(letter.id);
                *is_message |= letter.message_id.as_ref() == Some(id);
            }
        }
    }

    /// Verifies that each id selects one letter. Several letters of one message are no doubt.
    fn verify(&self) -> Result<(), NoMatch> {
        for (id, (letters, is_message)) in self.selection.ids.iter().zip(&self.by_id) {
            match letters.len() {
                0 => return Err(NoMatch(format!("no letter has the id {id}; it may have been moved"))),
                1 => {}
                _ if *is_message => {}
                several => {
                    return Err(NoMatch(format!("{several} letters have an id that begins with {id}")));
                }
            }
        }
        if self.letters == 0 {
            return Err(NoMatch(format!("no letter matches {}", self.selection)));
        }
        Ok(())
    }
}

/// Returns whether an argument is the id of a letter, its beginning, or the id of its message.
fn names(id: &str, letter: &Letter) -> bool {
    let is_prefix = id.len() >= MIN_PREFIX && letter.id.to_string().starts_with(id);
    is_prefix || letter.message_id.as_deref() == Some(id)
}
