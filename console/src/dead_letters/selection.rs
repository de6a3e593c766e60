//! The letters that a command applies to.

use std::{collections::BTreeSet, fmt};

use clap::Args;

use super::NoMatch;
use crate::{
    inventory::{FoundLetter, Place},
    letter::Letter,
};

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
        let mut letters = Vec::new();
        for place in places {
            place
                .visit(|letter, _| {
                    if self.matches(&letter) {
                        letters.push((place.name.clone(), letter));
                    }
                })
                .await?;
        }
        self.verify(&letters.iter().map(|(_, letter)| letter))?;
        Ok(letters)
    }

    /// Returns the selected letters with their messages.
    ///
    /// # Errors
    /// Returns the errors of [`Selection::list`].
    pub(crate) async fn read(&self, places: &[Place<'_>]) -> anyhow::Result<Vec<FoundLetter>> {
        let mut found = Vec::new();
        for place in places {
            place
                .visit(|letter, message| {
                    if self.matches(&letter) {
                        let message = message.copy().received();
                        found.push(FoundLetter { place: place.name.clone(), letter, message });
                    }
                })
                .await?;
        }
        self.verify(&found.iter().map(|found| &found.letter))?;
        Ok(found)
    }

    fn matches(&self, letter: &Letter) -> bool {
        let is_selected = if self.ids.is_empty() {
            self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
        } else {
            self.ids.iter().any(|id| names(id, letter))
        };
        is_selected && self.queue.as_ref().is_none_or(|queue| *queue == letter.queue)
    }

    /// Verifies that each id selects one letter. Several letters of one message are no doubt.
    fn verify<'a>(&self, letters: &(impl Iterator<Item = &'a Letter> + Clone)) -> Result<(), NoMatch> {
        for id in &self.ids {
            let selected: BTreeSet<_> =
                letters.clone().filter(|letter| names(id, letter)).map(|letter| letter.id).collect();
            let is_message = letters.clone().any(|letter| letter.message_id.as_ref() == Some(id));
            match selected.len() {
                0 => return Err(NoMatch(format!("no letter has the id {id}; it may have been moved"))),
                1 => {}
                _ if is_message => {}
                several => {
                    return Err(NoMatch(format!("{several} letters have an id that begins with {id}")));
                }
            }
        }
        if letters.clone().next().is_none() {
            return Err(NoMatch(format!("no letter matches {self}")));
        }
        Ok(())
    }
}

/// Returns whether an argument is the id of a letter, its beginning, or the id of its message.
fn names(id: &str, letter: &Letter) -> bool {
    let is_prefix = id.len() >= MIN_PREFIX && letter.id.to_string().starts_with(id);
    is_prefix || letter.message_id.as_deref() == Some(id)
}
