//! The end of a run: who was told, who is saved, who has a row, and which letters are dead.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, ensure};

use super::bad_messages::MARK;
use super::fault::QUEUES;
use super::fault_run::FaultRun;
use super::recoveries::Recoveries;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Customers in the Web Store's table.
    pub registered: usize,
    /// Rows in Marketing's.
    pub marketing: usize,
    /// Customers who were told, or are saved, and have no row.
    pub lost: usize,
    /// Rows too many, by the customer's id or by their address.
    pub doubled: usize,
    /// Registrations that were refused, or got no answer.
    pub refused: u64,
    /// Bad messages among the dead letters.
    pub dead_lettered: usize,
    /// Bad messages that are no dead letters, though the broker took them.
    pub bad_messages_lost: usize,
    /// Dead letters that are none of the bad messages.
    pub good_messages_dead_lettered: usize,
    /// What decided the faults.
    pub seed: u64,
    /// The faults, and how long it took to recover from each kind.
    pub recoveries: Recoveries,
}

impl Verdict {
    /// Nobody was lost or doubled, and the dead letters are exactly the bad messages.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        (self.lost, self.doubled, self.bad_messages_lost, self.good_messages_dead_lettered) == (0, 0, 0, 0)
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { registered, marketing, lost, doubled, refused, dead_lettered, seed, recoveries, .. } =
            self;
        write!(
            f,
            "registered={registered} marketing={marketing} lost={lost} doubled={doubled} refused={refused} \
             dead_lettered={dead_lettered} faults={} seed={seed}",
            recoveries.faults()
        )?;
        let (lost, good) = (self.bad_messages_lost, self.good_messages_dead_lettered);
        if lost > 0 || good > 0 {
            write!(f, "\n{lost} bad messages are lost; {good} good ones are dead letters")?;
        }
        Ok(())
    }
}

/// Compares the load's own list and the two tables, then the books, then the dead letters.
pub(super) async fn evaluate(drill: &FaultRun, seed: u64) -> Result<Verdict> {
    let saved: HashSet<String> = sqlx::query_scalar("SELECT id::text FROM customers")
        .fetch_all(&drill.system.customers)
        .await
        .context("the Web Store's customers")?
        .into_iter()
        .collect();
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT customer_id, lower(email_address) FROM customers")
            .fetch_all(&drill.system.rows)
            .await
            .context("Marketing's customers")?;
    let ids: HashSet<&String> = rows.iter().map(|(id, _)| id).collect();
    let addresses: HashSet<&String> = rows.iter().map(|(_, address)| address).collect();
    let told = drill.load.told();
    let lost = told.union(&saved).filter(|id| !ids.contains(id)).count();
    let mut verdict = Verdict {
        registered: saved.len(),
        marketing: rows.len(),
        lost,
        doubled: (rows.len() - ids.len()).max(rows.len() - addresses.len()),
        refused: drill.load.refused(),
        seed,
        ..Verdict::default()
    };
    let books = drill.books().await?;
    ensure!(
        (books.missing == 0) == (saved.iter().all(|id| ids.contains(id))),
        "the books and the tables disagree:\n{books}"
    );
    judge_dead_letters(drill, &mut verdict).await?;
    Ok(verdict)
}

/// A crash between a dead letter and its acknowledgement makes a second copy, so letters count once each.
async fn judge_dead_letters(drill: &FaultRun, verdict: &mut Verdict) -> Result<()> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let management = drill.system.site.management();
    for queue in QUEUES {
        for letter in management.take(&queue.dead_letter_queue(), 100_000).await? {
            let headers = &letter.properties["headers"];
            // What the transformer could map, Marketing rejects: a command that tells its cause.
            let mark = headers[MARK].as_str().or(headers["causation-id"].as_str()).unwrap_or_default();
            *found.entry(mark.to_owned()).or_default() += 1;
        }
    }
    let sent = drill.bad_messages.lock().expect("no panic while it is held").clone();
    let taken = |mark: &String| found.contains_key(mark);
    verdict.dead_lettered = sent.iter().filter(|(mark, _)| taken(mark)).count();
    verdict.bad_messages_lost = sent.iter().filter(|(mark, confirmed)| *confirmed && !taken(mark)).count();
    verdict.good_messages_dead_lettered =
        found.keys().filter(|mark| !sent.iter().any(|(known, _)| known == *mark)).count();
    Ok(())
}
