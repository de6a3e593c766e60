//! The evaluation of a fault run: confirmed registrations, both tables, reconciliation, and dead letters.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
};

use anyhow::{Context, ensure};

use crate::{bad_messages::ID_HEADER, fault::REGISTRATION_QUEUES, recoveries::Recoveries, run::FaultRun};

/// The result of a fault run.
#[derive(Debug, Clone, Default)]
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
    /// The number of bad messages among the dead letters.
    dead_lettered: usize,
    /// The number of bad messages that the broker has confirmed and that are not among the dead letters.
    bad_messages_lost: usize,
    /// The number of other messages among the dead letters.
    good_messages_dead_lettered: usize,
    seed: u64,
    pub(crate) recoveries: Recoveries,
}

impl Verdict {
    /// Returns whether no customer is lost or duplicated, and the dead letters are exactly the bad messages.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.bad_messages_lost == 0
            && self.good_messages_dead_lettered == 0
    }
}

impl Display for Verdict {
    /// Writes one line. Scripts read its fields, so their names do not change.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { registered, marketing, lost, duplicated, refused, dead_lettered, seed, .. } = self;
        let faults = self.recoveries.faults();
        write!(
            f,
            "registered={registered} marketing={marketing} lost={lost} doubled={duplicated} \
             refused={refused} dead_lettered={dead_lettered} faults={faults} seed={seed}"
        )?;
        if self.bad_messages_lost > 0 || self.good_messages_dead_lettered > 0 {
            write!(
                f,
                "\n{} bad messages are lost; {} good messages are dead letters",
                self.bad_messages_lost, self.good_messages_dead_lettered
            )?;
        }
        Ok(())
    }
}

/// The customers of both applications, and the confirmed registrations.
pub(crate) struct Customers {
    confirmed: HashSet<String>,
    stored: HashSet<String>,
    /// The number of rows in Marketing.
    rows: usize,
    row_ids: HashSet<String>,
    row_addresses: HashSet<String>,
}

impl Customers {
    /// Returns the number of customers who are confirmed or stored, and have no row.
    pub(crate) fn lost(&self) -> usize {
        self.confirmed.union(&self.stored).filter(|id| !self.row_ids.contains(*id)).count()
    }

    /// Returns the number of excess rows, by customer id or by e-mail address.
    pub(crate) fn duplicated(&self) -> usize {
        self.rows - self.row_ids.len().min(self.row_addresses.len())
    }
}

impl FaultRun {
    /// Reads the customers of both applications, and the load's list of confirmed registrations.
    pub(crate) async fn read_customers(&self) -> anyhow::Result<Customers> {
        let stored: Vec<String> = sqlx::query_scalar("SELECT id::text FROM customers")
            .fetch_all(&self.system.web_store_database)
            .await
            .context("cannot read the Web Store's customers")?;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT customer_id, lower(email_address) FROM customers")
                .fetch_all(&self.system.marketing_database)
                .await
                .context("cannot read Marketing's customers")?;
        let count = rows.len();
        let (row_ids, row_addresses) = rows.into_iter().unzip();
        Ok(Customers {
            confirmed: self.load.confirmed(),
            stored: stored.into_iter().collect(),
            rows: count,
            row_ids,
            row_addresses,
        })
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
        self.evaluate_dead_letters(&mut verdict).await?;
        Ok(verdict)
    }

    /// Compares the dead letters with the bad messages.
    ///
    /// A crash between a dead letter and its ack creates a second copy, so copies count once.
    async fn evaluate_dead_letters(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut dead_letters = HashSet::new();
        let management = self.system.environment.management();
        for queue in REGISTRATION_QUEUES {
            for dead_letter in management.take(&queue.dead_letter_queue(), 100_000).await? {
                let headers = &dead_letter.properties["headers"];
                // Marketing rejects the commands of bad messages that the transformer has accepted. Such a
                // command identifies the bad message as its cause.
                let id = headers[ID_HEADER].as_str().or(headers["causation-id"].as_str());
                dead_letters.insert(id.unwrap_or_default().to_owned());
            }
        }
        let bad_messages = self.bad_messages.lock().expect("no thread panics while it holds this lock");
        let (found, absent): (Vec<_>, Vec<_>) =
            bad_messages.iter().partition(|message| dead_letters.contains(&message.id));
        verdict.dead_lettered = found.len();
        verdict.bad_messages_lost = absent.iter().filter(|message| message.confirmed).count();
        verdict.good_messages_dead_lettered = dead_letters.len() - found.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn summary_contains_fields_for_scripts() {
        let verdict = Verdict { registered: 3, marketing: 4, duplicated: 1, seed: 7, ..Verdict::default() };
        let summary = "registered=3 marketing=4 lost=0 doubled=1 refused=0 dead_lettered=0 faults=0 seed=7";
        assert_eq!(verdict.to_string(), summary);
        assert!(!verdict.is_clean());
    }
}
