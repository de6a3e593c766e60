//! `console erase`: erases a person from both applications, and from all letters.
//!
//! The console writes to no database. The Web Store erases a customer at the command `EraseCustomer`, and Marketing
//! follows the event. The console removes the letters, because they belong to no application. Every step can be repeated:
//! a second run finds only the remaining data.

mod certificate;
mod request;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use chrono::Utc;
use dead_letters::{
    inventory,
    journal::{Action, Event, Journal},
    operation::Operation,
};
use readers::{
    connections::{Brokers, Connections},
    marketing::Marketing,
    web_store::WebStore,
};
use reconciliation::Sources;
use service_kit::{parse_seconds, write_stdout};
use uuid::Uuid;

use crate::{
    operator::Operator,
    subject::{Letters, Search, Subject, find_letters, parse_address},
};
use certificate::{Certificate, CustomerState, RemovedLetter};
use request::{Passage, Progress};

/// The maximum of searches for letters after the erasure. A message in flight can become a letter once.
const MAX_SWEEPS: usize = 3;

/// The number of customers in one page of reconciliation, which only observes queues here.
const PAGE: u32 = 1000;

/// Erases a person from both databases, all letters, and all listeners
///
/// Without --yes, prints the data that was found, and changes nothing. With --yes, writes the ids of the customers to the
/// journal, removes their dead letters and kept letters for good, requests the erasure by the command `EraseCustomer`, and
/// waits until both applications have erased the customers. Then it prints a certificate: what was found and removed,
/// what remains and why, and what expires later.
///
/// Every step can be repeated. After an interruption, repeat the command, with --customer if the address is gone already.
/// The exit status is 0 if nothing remains or the command changed nothing, 1 if data remains, 2 if a server cannot be
/// used, and 3 if no data was found.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    operator: Operator,
    /// The e-mail address of the person
    #[arg(required_unless_present = "customers", value_parser = parse_address)]
    email: Option<String>,
    /// A customer of the person; may be repeated
    #[arg(long = "customer", value_name = "ID")]
    customers: Vec<Uuid>,
    /// The reason, for the journal, such as the number of the request
    #[arg(long)]
    why: String,
    /// Erases; without it, the command only prints what it would erase
    #[arg(long)]
    yes: bool,
    /// Time to wait until both applications have erased the customers, and until earlier messages have passed the queues
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    patience: Duration,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Erases, and prints the certificate. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let certificate = match Box::pin(Erasure::run(arguments)).await {
        Ok(certificate) => certificate,
        Err(error) => {
            eprintln!("console: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let Some(certificate) = certificate else {
        eprintln!(
            "console: no server has data of this person; continue an interrupted erasure with --customer ID"
        );
        return Ok(ExitCode::from(3));
    };
    write_stdout(&if arguments.json { certificate.to_json()? } else { certificate.to_string() })?;
    Ok(if certificate.is_complete || certificate.is_dry_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The servers, the person, and the letters of the person.
struct Erasure<'a> {
    brokers: &'a Brokers,
    web_store: WebStore,
    marketing: Marketing,
    subject: Subject,
    letters: Letters,
}

impl Erasure<'_> {
    /// Runs the command. Returns `None` if no data was found.
    async fn run(arguments: &Arguments) -> anyhow::Result<Option<Certificate>> {
        let Arguments { connections, email, customers, why, .. } = arguments;
        let brokers = &connections.brokers;
        let found = Search::run(connections, email.as_deref(), customers, why).await?;
        let Some(Search { web_store, marketing, subject, letters }) = found else { return Ok(None) };
        let mut erasure = Erasure { brokers, web_store, marketing, subject, letters };
        if arguments.yes {
            erasure.erase(arguments).await.map(Some)
        } else {
            let found = erasure.customer_states().await?;
            let letters = erasure.letters.own.iter().map(RemovedLetter::of).collect();
            Ok(Some(Certificate::dry_run(&found, letters)))
        }
    }

    /// Erases the person, and returns the certificate.
    async fn erase(&mut self, arguments: &Arguments) -> anyhow::Result<Certificate> {
        let operator = arguments.operator.name()?;
        let before = self.customer_states().await?;
        let id = Uuid::now_v7();
        let mut journal = Journal::open(self.brokers.source(), &operator).await?;
        let started = Event::ErasureStarted {
            customers: self.subject.ids(),
            letters: self.letters.own.len() as u64,
            why: arguments.why.clone(),
        };
        journal.append(id, started).await?;
        eprintln!("operation {id}: {}", self.repeat_with());
        let mut removed = Vec::new();
        self.remove_letters(&mut journal, id, &mut removed).await?;
        let requested = certificate::requested(&before);
        let sources =
            Sources { connections: arguments.connections.clone(), patience: arguments.patience, page: PAGE };
        let progress = request::erase(&sources, &requested, &mut self.web_store, &mut self.marketing).await?;
        self.sweep(&mut journal, id, &mut removed).await?;
        let after = self.customer_states().await?;
        let journal_entries = self.journal_mentions(&journal)?;
        let certificate = Certificate {
            operation: Some(id),
            operator,
            at: Utc::now(),
            is_dry_run: false,
            is_complete: self.is_complete(&after, &progress),
            repeat_with: self.repeat_with(),
            customers: certificate::compare(&before, &after),
            removed_letters: removed,
            remaining_letters: self.letters.own.iter().map(RemovedLetter::of).collect(),
            erasure_letters: self.letters.erasures.clone(),
            journal_entries,
            queues: progress.queues,
            has_passed: progress.passage == Passage::Passed,
            expiries: certificate::expiries(&mut self.web_store, &mut self.marketing).await?,
        };
        let finished = Event::ErasureFinished {
            letters: certificate.removed_letters.len() as u64,
            is_complete: certificate.is_complete,
        };
        journal.append(id, finished).await?;
        Ok(certificate)
    }

    /// Returns the command that repeats the erasure without the address.
    fn repeat_with(&self) -> String {
        let customers: Vec<_> = self.subject.customers.iter().map(|id| format!("--customer {id}")).collect();
        format!("repeat with: console erase {} --why TEXT --yes", customers.join(" "))
    }

    /// Removes the letters that the last search found.
    async fn remove_letters(
        &mut self,
        journal: &mut Journal,
        id: Uuid,
        removed: &mut Vec<RemovedLetter>,
    ) -> anyhow::Result<()> {
        if self.letters.own.is_empty() {
            return Ok(());
        }
        let own = self.letters.own.iter();
        let letters: Vec<_> = own.map(|found| (found.place.clone(), found.letter.clone())).collect();
        let selection = format!("erasure {id}");
        let operation = Operation::start(journal, Action::Erase, &letters, &selection, None, None).await?;
        let places = inventory::all_letters(self.brokers);
        Box::pin(operation.execute(journal, &places)).await.context("cannot remove the letters")?;
        removed.extend(self.letters.own.iter().map(RemovedLetter::of));
        self.letters.own.clear();
        Ok(())
    }

    /// Removes the letters that earlier messages have become meanwhile.
    async fn sweep(
        &mut self,
        journal: &mut Journal,
        id: Uuid,
        removed: &mut Vec<RemovedLetter>,
    ) -> anyhow::Result<()> {
        for _ in 0..MAX_SWEEPS {
            self.find_letters().await?;
            if self.letters.own.is_empty() {
                return Ok(());
            }
            self.remove_letters(journal, id, removed).await?;
        }
        self.find_letters().await
    }

    async fn find_letters(&mut self) -> anyhow::Result<()> {
        let Self { brokers, subject, web_store, marketing, .. } = self;
        self.letters = find_letters(brokers, subject, web_store, marketing).await?;
        Ok(())
    }

    async fn customer_states(&mut self) -> anyhow::Result<Vec<CustomerState>> {
        CustomerState::read(&self.subject.ids(), &mut self.web_store, &mut self.marketing).await
    }

    /// Returns the number of entries of the journal that contain an address. An operator has typed it.
    fn journal_mentions(&self, journal: &Journal) -> anyhow::Result<u64> {
        let mut mentions = 0;
        for entry in journal.entries() {
            mentions += u64::from(self.subject.is_mentioned_in(&serde_json::to_string(entry)?));
        }
        Ok(mentions)
    }

    fn is_complete(&self, after: &[CustomerState], progress: &Progress) -> bool {
        progress.passage == Passage::Passed
            && after.iter().all(CustomerState::is_erased)
            && self.letters.own.is_empty()
    }
}
