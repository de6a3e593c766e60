//! The certificate of an erasure: the data that was found, where it was removed, and the copies that expire later.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use dead_letters::{inventory::FoundLetter, letter::Letter};
use readers::{
    marketing::{Marketing, Row},
    web_store::{Version, WebStore},
};
use reconciliation::QueueObservation;
use serde::Serialize;
use uuid::Uuid;

/// The source of the customers that the Web Store can erase.
const WEB_STORE: &str = "web-store";

/// The data of one customer in both databases. It contains no name and no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CustomerState {
    pub(super) customer_id: Uuid,
    /// The number of versions in the Web Store.
    versions: usize,
    /// The number of events of these versions in the outbox.
    outbox: usize,
    /// When the Web Store erased the customer.
    erased_at: Option<DateTime<Utc>>,
    /// The source of Marketing's row with details.
    marketing_source: Option<String>,
    /// Whether Marketing has forgotten the customer.
    is_forgotten: bool,
}

/// A customer before and after the erasure.
#[derive(Debug, Serialize)]
pub(super) struct ErasedCustomer {
    customer_id: Uuid,
    before: CustomerState,
    after: CustomerState,
}

/// A letter that was removed, or that remains.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RemovedLetter {
    /// The queue that has, or had, the letter.
    place: String,
    #[serde(flatten)]
    letter: Letter,
}

/// Copies that no command can remove, and the time of their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Expiry {
    place: &'static str,
    content: &'static str,
    until: String,
}

/// The result of an erasure, or of a dry run.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    /// The operation in the journal. `None` for a dry run.
    pub(super) operation: Option<Uuid>,
    pub(super) operator: String,
    pub(super) at: DateTime<Utc>,
    pub(super) is_dry_run: bool,
    /// Whether nothing of the person remains, apart from copies that expire.
    pub(super) is_complete: bool,
    pub(super) repeat_with: String,
    pub(super) customers: Vec<ErasedCustomer>,
    pub(super) removed_letters: Vec<RemovedLetter>,
    /// Letters that became dead letters during the last search, or that a dry run found.
    pub(super) remaining_letters: Vec<RemovedLetter>,
    /// Dead letters that are themselves messages of this erasure. A retry continues the erasure.
    pub(super) erasure_letters: Vec<Letter>,
    /// The number of entries of the journal that contain an address, because an operator has typed it.
    pub(super) journal_entries: u64,
    /// The queues that may still hold messages.
    pub(super) queues: Vec<QueueObservation>,
    /// Whether all messages that were sent before the erasure have passed the queues.
    pub(super) has_passed: bool,
    pub(super) expiries: Vec<Expiry>,
}

impl CustomerState {
    /// Reads the states of customers, in order.
    pub(super) async fn read(
        customers: &[Uuid],
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<Vec<Self>> {
        let versions = web_store.versions(customers).await?;
        let erased = web_store.erased(customers).await?;
        let rows = marketing.received(customers).await?;
        let state = |customer_id: &Uuid| {
            let own: Vec<&Version> =
                versions.iter().filter(|version| version.customer_id == *customer_id).collect();
            let id = customer_id.to_string();
            let rows = || rows.iter().map(|found| &found.row).filter(|row| row.customer_id == id);
            Self {
                customer_id: *customer_id,
                versions: own.len(),
                outbox: own.iter().filter(|version| version.outbox().is_some()).count(),
                erased_at: erased.iter().find(|one| one.customer_id == *customer_id).map(|one| one.erased_at),
                marketing_source: rows().find(|row| !row.is_forgotten()).map(|row| row.source.clone()),
                is_forgotten: rows().any(Row::is_forgotten),
            }
        };
        Ok(customers.iter().map(state).collect())
    }

    /// Returns whether neither application has details of the customer, and both refuse them from now on.
    pub(super) fn is_erased(&self) -> bool {
        self.versions == 0 && self.erased_at.is_some() && self.marketing_source.is_none() && self.is_forgotten
    }

    /// Returns whether the customer comes from another application than the Web Store.
    fn is_of_another_source(&self) -> bool {
        let is_other = self.marketing_source.as_ref().is_some_and(|source| source != WEB_STORE);
        is_other && self.versions == 0 && self.erased_at.is_none()
    }
}

/// Returns the customers that the Web Store can erase: all but those that Marketing has from another source.
pub(super) fn requested(found: &[CustomerState]) -> Vec<Uuid> {
    let own = found.iter().filter(|customer| !customer.is_of_another_source());
    own.map(|customer| customer.customer_id).collect()
}

/// Returns the customers after an erasure, each with its state before. A customer that only a letter has shown during the
/// erasure has the same state twice.
pub(super) fn compare(before: &[CustomerState], after: &[CustomerState]) -> Vec<ErasedCustomer> {
    let compared = |after: &CustomerState| {
        let before = before.iter().find(|before| before.customer_id == after.customer_id).unwrap_or(after);
        ErasedCustomer { customer_id: after.customer_id, before: before.clone(), after: after.clone() }
    };
    after.iter().map(compared).collect()
}

impl RemovedLetter {
    pub(super) fn of(found: &FoundLetter) -> Self {
        Self { place: found.place.clone(), letter: found.letter.clone() }
    }
}

impl Certificate {
    /// Returns the report of a command that changes nothing.
    pub(super) fn dry_run(found: &[CustomerState], letters: Vec<RemovedLetter>) -> Self {
        Self {
            operation: None,
            operator: String::new(),
            at: Utc::now(),
            is_dry_run: true,
            is_complete: false,
            repeat_with: "erase with: --yes".to_owned(),
            customers: compare(found, found),
            removed_letters: Vec::new(),
            remaining_letters: letters,
            erasure_letters: Vec::new(),
            journal_entries: 0,
            queues: Vec::new(),
            has_passed: false,
            expiries: Vec::new(),
        }
    }

    pub(super) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Returns the copies that expire, with the settings of the servers that limit them.
///
/// # Errors
/// Returns an error if a database cannot be read.
pub(super) async fn expiries(
    web_store: &mut WebStore,
    marketing: &mut Marketing,
) -> anyhow::Result<Vec<Expiry>> {
    let log = web_store.log_settings().await?;
    let binlog = match marketing.binlog_seconds().await? {
        None => "none: the binary log is off".to_owned(),
        Some(0) => "no limit: binlog_expire_logs_seconds is 0, so purge the binary logs by hand".to_owned(),
        Some(seconds) => {
            let end = Utc::now() + TimeDelta::seconds(seconds);
            format!(
                "{} (binlog_expire_logs_seconds = {seconds}), after the next change of the file",
                end.format("%Y-%m-%d")
            )
        }
    };
    let expiry = |place, content, until| Expiry { place, content, until };
    Ok(vec![
        expiry(
            "Postgres, data files",
            "the deleted rows",
            "the next VACUUM of customers, customer_versions, and outbox; autovacuum decides".to_owned(),
        ),
        expiry(
            "Postgres, write-ahead log",
            "the changes of the rows",
            format!(
                "the log is reused after checkpoints (checkpoint_timeout = {}, max_wal_size = {}); \
                 archive_mode = {}: an archive keeps it as long as your backups",
                log.checkpoint_timeout, log.max_wal_size, log.archive_mode
            ),
        ),
        expiry(
            "MySQL, data files",
            "the overwritten row",
            "the next purge of InnoDB, within minutes".to_owned(),
        ),
        expiry("MySQL, binary log", "the changes of the row", binlog),
        expiry(
            "RabbitMQ, segment files",
            "the bodies of consumed and removed messages",
            "the queue deletes a segment file when no message in it is left".to_owned(),
        ),
        expiry(
            "backups",
            "the rows",
            "your retention decides; after a restore, repeat the erasures that the journal lists".to_owned(),
        ),
        expiry("logs of the services", "ids, and no names or addresses", "your retention decides".to_owned()),
    ])
}

fn count(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

impl fmt::Display for CustomerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { versions, outbox, erased_at, marketing_source, is_forgotten, .. } = self;
        write!(f, "Web Store: {}, {} in the outbox", count(*versions, "version"), count(*outbox, "event"))?;
        if let Some(at) = erased_at {
            write!(f, ", erased at {}", at.format("%Y-%m-%d %H:%M:%S"))?;
        }
        match (marketing_source, is_forgotten) {
            (Some(source), _) => write!(f, "; Marketing: 1 row from {source}"),
            (None, true) => write!(f, "; Marketing: forgotten"),
            (None, false) => write!(f, "; Marketing: no row"),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.format("%Y-%m-%d %H:%M:%S");
        match self.operation {
            None => writeln!(f, "Dry run at {at} UTC. Nothing is changed.")?,
            Some(id) => {
                writeln!(f, "Certificate of erasure, operation {id}, by {} at {at} UTC", self.operator)?;
            }
        }
        for ErasedCustomer { customer_id, before, after } in &self.customers {
            writeln!(f, "\ncustomer {customer_id}\n  found    {before}")?;
            if !self.is_dry_run {
                writeln!(f, "  now      {after}")?;
            }
            if after.is_of_another_source() {
                let source = after.marketing_source.as_deref().unwrap_or_default();
                writeln!(f, "  remains: {source} owns this customer, and must send ForgetCustomer")?;
            }
        }
        let letters = |f: &mut fmt::Formatter<'_>, title: &str, letters: &[RemovedLetter]| {
            if letters.is_empty() {
                return Ok(());
            }
            writeln!(f, "\n{title}")?;
            letters.iter().try_for_each(|RemovedLetter { place, letter }| {
                writeln!(f, "  {} in {place}: {}, {}", letter.id.short(), letter.message_type, letter.reason)
            })
        };
        letters(f, "letters that were removed", &self.removed_letters)?;
        letters(f, "letters that are there", &self.remaining_letters)?;
        for Letter { id, queue, reason, .. } in &self.erasure_letters {
            let id = id.short();
            writeln!(
                f,
                "\nA message of this erasure is a dead letter of {queue} ({reason}). Next: console dead-letters retry {id}"
            )?;
        }
        if self.journal_entries > 0 {
            let entries = self.journal_entries;
            writeln!(
                f,
                "\n{entries} entries of the journal contain an address, because an operator typed it. They stay."
            )?;
        }
        if self.is_dry_run {
            return writeln!(f, "\nErase with --yes.");
        }
        if !self.has_passed {
            writeln!(
                f,
                "\nMessages that were sent before may still wait in a queue. They will have no effect."
            )?;
            for QueueObservation { queue, ready, in_flight, consumers, .. } in &self.queues {
                writeln!(f, "  {queue}: {ready} ready, {in_flight} held, {consumers} consumers")?;
            }
        }
        writeln!(f, "\nexpires later")?;
        for Expiry { place, content, until } in &self.expiries {
            writeln!(f, "  {place}: {content}, until {until}")?;
        }
        if self.is_complete {
            writeln!(f, "\nNothing of the person remains, apart from the copies that expire.")
        } else {
            writeln!(f, "\nData remains. When the cause is gone, {}", self.repeat_with)
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use uuid::Uuid;

    use super::{Certificate, CustomerState};

    fn state() -> CustomerState {
        CustomerState {
            customer_id: Uuid::nil(),
            versions: 0,
            outbox: 0,
            erased_at: Some(Utc::now()),
            marketing_source: None,
            is_forgotten: true,
        }
    }

    #[test]
    fn customer_is_erased_only_if_both_applications_refuse_it() {
        assert!(state().is_erased());
        for remaining in [
            CustomerState { versions: 1, ..state() },
            CustomerState { erased_at: None, ..state() },
            CustomerState { marketing_source: Some("web-store".to_owned()), ..state() },
            CustomerState { is_forgotten: false, ..state() },
        ] {
            assert!(!remaining.is_erased(), "{remaining:?}");
        }
    }

    #[test]
    fn customer_of_another_source_is_named_with_the_next_step() {
        let other = CustomerState {
            erased_at: None,
            marketing_source: Some("loyalty".to_owned()),
            is_forgotten: false,
            ..state()
        };
        assert!(other.is_of_another_source());
        assert!(!CustomerState { versions: 1, ..other.clone() }.is_of_another_source());
        let text = Certificate::dry_run(&[other], Vec::new()).to_string();
        assert!(text.contains("loyalty owns this customer"), "{text}");
    }
}
