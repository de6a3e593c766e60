//! The evaluation of a fault run: confirmed registrations, both tables, reconciliation, and dead letters.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::{
    bad_messages::ID_HEADER,
    customers::Customers,
    fault_run::FaultRun,
    fuzz::{Fate, Report},
    recoveries::Recoveries,
    system::System,
};

/// The broker itself moves expired messages to the dead letters, in the background.
const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(30);

/// The result of a fault run.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The number of customers in the Web Store's table.
    registered: usize,
    /// The number of rows in Marketing's table.
    marketing: usize,
    /// The number of customers who are confirmed or stored, and have no row.
    lost: usize,
    /// The number of excess rows, by customer id or by e-mail address.
    duplicated: usize,
    /// The number of registrations with an error or without a response.
    refused: u64,
    /// The number of bad and poison messages among the dead letters.
    dead_lettered: usize,
    /// The number of valid messages among the dead letters.
    dead_lettered_valid: usize,
    /// The number of bad messages that the broker has confirmed and that are not among the dead letters.
    bad_messages_lost: usize,
    seed: u64,
    pub(crate) recoveries: Recoveries,
    /// The fates of the poison messages.
    pub(crate) poison: Report,
}

impl Verdict {
    /// Returns whether no customer is lost or duplicated, every bad message is a dead letter, every poison message is
    /// processed or a dead letter of its queue, and there are no other dead letters.
    pub(crate) fn is_clean(&self) -> bool {
        let faults = [self.lost, self.duplicated, self.dead_lettered_valid, self.bad_messages_lost];
        faults.iter().all(|count| *count == 0) && self.poison_is_accounted_for()
    }

    fn poison_is_accounted_for(&self) -> bool {
        self.poison.total(Fate::Unaccounted) + self.poison.strayed + self.poison.malformed == 0
    }
}

impl Display for Verdict {
    /// Writes one line. Scripts read its fields, so their names do not change.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { registered, marketing, lost, duplicated, refused, dead_lettered, .. } = self;
        let Self { dead_lettered_valid, seed, .. } = self;
        let faults = self.recoveries.faults();
        write!(
            f,
            "registered={registered} marketing={marketing} lost={lost} doubled={duplicated} \
             refused={refused} dead_lettered={dead_lettered} dead_lettered_valid={dead_lettered_valid} \
             faults={faults} seed={seed}"
        )
    }
}

impl FaultRun {
    /// Reads the customers of the run.
    pub(crate) async fn read_customers(&self) -> anyhow::Result<Customers> {
        let System { web_store_database, marketing_database, .. } = &self.system;
        Customers::read(web_store_database, marketing_database, self.load.confirmed()).await
    }

    /// Evaluates the run. The system must be quiescent.
    pub(crate) async fn evaluate(&self, seed: u64, recoveries: Recoveries) -> anyhow::Result<Verdict> {
        let customers = self.read_customers().await?;
        let report = self.reconcile().await?;
        ensure!(
            (report.missing == 0) == customers.stored.is_subset(&customers.row_ids),
            "reconciliation and the tables disagree:\n{report}"
        );
        let mut verdict = Verdict {
            registered: customers.stored.len(),
            marketing: customers.rows,
            lost: customers.lost(),
            duplicated: customers.duplicated(),
            refused: self.load.refused(),
            seed,
            recoveries,
            ..Verdict::default()
        };
        self.evaluate_dead_letters(&customers.poison_ids, &mut verdict).await?;
        Ok(verdict)
    }

    /// Compares the dead letters with the bad messages and the poison messages.
    ///
    /// A crash between a dead letter and its ack creates a second copy, so copies count once.
    async fn evaluate_dead_letters(
        &self,
        rows: &HashSet<String>,
        verdict: &mut Verdict,
    ) -> anyhow::Result<()> {
        let bad_messages = self.bad_messages().clone();
        let ids = bad_messages.iter().map(|message| message.id.clone()).collect();
        let give_up = Instant::now() + DEAD_LETTER_TIMEOUT;
        let mut found = HashSet::new();
        loop {
            let environment = &self.system.environment;
            found.extend(self.poison.take_dead_letters(environment, ID_HEADER, &ids).await?);
            let absent = bad_messages.iter().filter(|message| !found.contains(&message.id));
            verdict.bad_messages_lost = absent.filter(|message| message.confirmed).count();
            verdict.poison = self.poison.report(rows);
            let missing = verdict.bad_messages_lost + verdict.poison.total(Fate::Unaccounted);
            if missing == 0 || Instant::now() > give_up {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        if verdict.bad_messages_lost > 0 {
            verdict.poison.findings.push(format!("{} bad messages are lost", verdict.bad_messages_lost));
        }
        verdict.dead_lettered = found.len() + verdict.poison.total(Fate::DeadLettered);
        // Only runs with a console have a policy that expires messages. The console has replaced them.
        let replaced = if self.console.is_some() { verdict.poison.good_expired } else { 0 };
        verdict.dead_lettered_valid = verdict.poison.good_dead_lettered - replaced;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn summary_contains_fields_for_scripts() {
        let verdict = Verdict { registered: 3, marketing: 4, duplicated: 1, seed: 7, ..Verdict::default() };
        let summary = "registered=3 marketing=4 lost=0 doubled=1 refused=0 dead_lettered=0 dead_lettered_valid=0 faults=0 seed=7";
        assert_eq!(verdict.to_string(), summary);
        assert!(!verdict.is_clean());
    }
}
