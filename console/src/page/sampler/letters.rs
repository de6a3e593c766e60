//! Reads the dead letters, and passes them through the code of this release.
//!
//! Reading a queue of letters holds all of them for a moment, which delays operators who move them. So they are read
//! only after their number has changed, and only a small part of the time.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use chrono::Utc;
use dead_letters::{inventory, prediction};
use tokio::time::{Instant, sleep};

use super::{INTERVAL, Sampler, reason};
use crate::page::facts::{LetterGroup, Letters};

/// The shortest time between two readings, unless an operation has moved letters.
const READ_INTERVAL: Duration = Duration::from_secs(15);

/// The shortest time between two readings, as a multiple of the duration of the last one.
const REST: u32 = 20;

impl Sampler {
    pub(super) async fn read_letters(&self) -> Infallible {
        let mut last: Option<(BTreeMap<&'static str, u32>, Instant)> = None;
        loop {
            let is_requested = tokio::select! {
                () = self.letters_changed.notified() => true,
                () = sleep(INTERVAL) => false,
            };
            let counts: BTreeMap<_, _> = {
                let latest = self.latest();
                latest
                    .dead_letters
                    .iter()
                    .filter(|(_, letters)| **letters > 0)
                    .map(|(queue, n)| (*queue, *n))
                    .collect()
            };
            let is_due = last.as_ref().is_none_or(|(before, next)| {
                *before != counts && (counts.is_empty() || Instant::now() >= *next)
            });
            if !is_due && !is_requested {
                continue;
            }
            let start = Instant::now();
            let letters = if counts.is_empty() && !is_requested {
                Ok(Letters { read_at: Utc::now(), groups: Vec::new() })
            } else {
                self.group_letters().await
            };
            let pause = READ_INTERVAL.max(start.elapsed() * REST);
            last = Some((counts, Instant::now() + pause));
            self.latest().letters = letters.map_err(|error| reason(&error));
        }
    }

    /// Groups the letters of all brokers that can be read.
    async fn group_letters(&self) -> anyhow::Result<Letters> {
        let mut groups: BTreeMap<(String, String), LetterGroup> = BTreeMap::new();
        for place in inventory::dead_letters(&self.connections.brokers) {
            if !self.latest().dead_letters.contains_key(place.queues[0].name) {
                continue;
            }
            place
                .visit(|letter, message| {
                    let key = (letter.queue.clone(), letter.reason.clone());
                    let group = groups.entry(key).or_insert_with(|| LetterGroup {
                        queue: letter.queue.clone(),
                        reason: letter.reason.clone(),
                        letters: 0,
                        passing: 0,
                        first: letter.rejected_at,
                        last: letter.rejected_at,
                    });
                    group.letters += 1;
                    group.passing += u64::from(prediction::would_pass(&letter, message));
                    group.first = [group.first, letter.rejected_at].into_iter().flatten().min();
                    group.last = group.last.max(letter.rejected_at);
                })
                .await?;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
        Ok(Letters { read_at: Utc::now(), groups })
    }
}
