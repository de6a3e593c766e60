//! The journal: what operators did, in a stream that keeps every entry.
//!
//! Entries are chained. Each contains the hash of the entry before it, so a modified, removed, or inserted entry shows.
//! An entry names letters by their ids and hashes, and never contains a body.
//!
//! Two consoles may append simultaneously. The stream orders their entries. Only the first entry after its predecessor
//! counts, and the other console appends its entry again. So the chain needs no lock.

mod chain;

use std::{
    fmt::{self, Display},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, Utc};
use contracts::operations::SubscriptionState;
use messaging::{BrokerUrl, MessageCopy, PublishOutcome, Session, StreamReader};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::letter::LetterId;

pub use chain::Link;
pub(crate) use chain::hash;

use chain::Chain;

/// The stream of the entries.
const JOURNAL: &str = "console.journal";

/// The direct exchange of the console. It routes to a queue by the name of the queue.
pub(crate) const EXCHANGE: &str = "console.moves";

/// The header with the hash of an entry.
const HASH: &str = "hash";

/// The time in which an appended entry must come back from the stream.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that delivers nothing for this time has been read to its end.
const END_OF_STREAM: Duration = Duration::from_secs(1);

/// One entry. Its JSON is the content of the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The hash of the previous entry, or zeros in the first one.
    pub previous: String,
    /// The time of the append, by the console's clock.
    pub at: DateTime<Utc>,
    /// The name of the operator.
    pub operator: String,
    /// The operation that the entry belongs to.
    pub operation: Uuid,
    /// The content.
    #[serde(flatten)]
    pub event: Event,
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The journal begins.
    Created,
    /// An operation begins. Entries with its letters follow, and it moves nothing before the last of them.
    Started {
        /// The effect on the letters.
        action: Action,
        /// The arguments that selected the letters.
        selection: String,
        /// The number of letters.
        letters: u64,
        /// Letters per second.
        rate: Option<u32>,
        /// The reason that the operator gave.
        why: Option<String>,
    },
    /// A part of the letters of an operation.
    Selected {
        /// The queue that has the letters.
        queue: String,
        /// Up to 1,000 letters.
        letters: Vec<SelectedLetter>,
    },
    /// An operator continued the operation.
    Resumed,
    /// An operator cancelled the operation. Letters that it has not moved stay.
    Cancelled,
    /// The operation moved all of its letters that were there.
    Finished {
        /// The number of moved letters.
        moved: u64,
        /// Letters that were not there, because another operation had moved them.
        absent: u64,
    },
    /// An operator edited a letter.
    Edited {
        /// The hash of the new body.
        body: String,
    },
    /// An operator saw bodies with personal data.
    Unmasked {
        /// The arguments that selected the letters.
        selection: String,
        /// The number of letters.
        letters: u64,
    },
    /// An operator saw the personal data of customers.
    UnmaskedCustomers {
        /// The ids of the customers.
        customers: Vec<Uuid>,
    },
    /// An operator exported the data of a person.
    Exported {
        /// The ids of the person's customers.
        customers: Vec<Uuid>,
        /// The number of letters in the export.
        letters: u64,
        /// The reason that the operator gave.
        why: String,
    },
    /// The erasure of a person begins. After a restore of a database, it must be repeated for these customers.
    ErasureStarted {
        /// The ids of the person's customers.
        customers: Vec<Uuid>,
        /// The number of letters at the start.
        letters: u64,
        /// The reason that the operator gave.
        why: String,
    },
    /// An erasure has reached its end.
    ErasureFinished {
        /// The number of removed letters.
        letters: u64,
        /// Whether nothing of the person remains.
        is_complete: bool,
    },
    /// An operator paused, throttled, or resumed a subscription.
    SubscriptionChanged {
        /// The queue of the subscription.
        queue: String,
        /// The new state.
        #[serde(flatten)]
        state: SubscriptionState,
        /// The reason that the operator gave.
        why: Option<String>,
    },
}

impl Event {
    /// Returns the reason that the operator gave.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Started { why, .. } | Self::SubscriptionChanged { why, .. } => why.as_deref(),
            _ => None,
        }
    }
}

/// The effect of an operation on its letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sends letters back to the queue that they came from.
    Retry,
    /// Sends a letter back with another body, and keeps the original.
    Edit,
    /// Moves letters out of the dead letters, and keeps them.
    Discard,
    /// Moves kept letters back to the dead letters.
    Restore,
    /// Removes letters for good, as a part of an erasure.
    Erase,
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Edit => "edit",
            Self::Discard => "discard",
            Self::Restore => "restore",
            Self::Erase => "erase",
        })
    }
}

/// A letter in an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectedLetter {
    /// The identity of the letter.
    pub letter: LetterId,
    /// The id of its message.
    pub message_id: Option<String>,
}

/// The journal, read to its end, for one operator.
pub struct Journal {
    session: Session,
    reader: StreamReader,
    chain: Chain,
    operator: String,
}

impl Journal {
    /// Opens the journal, and creates it if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached, or if a permission is missing.
    pub async fn open(broker: &BrokerUrl, operator: &str) -> anyhow::Result<Self> {
        let session = Session::open(broker, "console journal").await?;
        session.declare_direct_exchange(EXCHANGE).await?;
        session.declare_stream(JOURNAL).await?;
        anyhow::ensure!(session.bind_by_name(JOURNAL, EXCHANGE).await?, "the journal was deleted meanwhile");
        let mut journal = Self::read(session, operator).await?;
        if journal.chain.is_empty() {
            journal.append(Uuid::now_v7(), Event::Created).await?;
        }
        Ok(journal)
    }

    /// Reads the journal, and returns `None` if it does not exist. This has no effect on the broker.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached, or if a permission is missing.
    pub async fn read_existing(broker: &BrokerUrl) -> anyhow::Result<Option<Self>> {
        let session = Session::open(broker, "console journal").await?;
        if session.queue_state(JOURNAL).await?.is_none() {
            return Ok(None);
        }
        Self::read(session, "").await.map(Some)
    }

    async fn read(session: Session, operator: &str) -> anyhow::Result<Self> {
        let reader = session.read_stream(JOURNAL).await?;
        let mut journal = Self { session, reader, chain: Chain::default(), operator: operator.to_owned() };
        journal.read_until(END_OF_STREAM).await?;
        Ok(journal)
    }

    /// Returns the links of the chain, in their order.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        self.chain.links()
    }

    /// Returns the entries that count, in their order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.links().iter().filter_map(Link::entry)
    }

    /// Returns the hash of the last entry.
    #[must_use]
    pub fn last_hash(&self) -> &str {
        self.chain.last_hash()
    }

    /// Returns whether a message of the journal has this hash.
    #[must_use]
    pub fn contains(&self, hash: &str) -> bool {
        self.chain.contains(hash)
    }

    /// Reads the entries that have arrived, without a wait.
    ///
    /// # Errors
    /// Returns an error if the session broke.
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        self.read_until(Duration::ZERO).await
    }

    /// Appends an entry. Returns after the entry has its place in the chain.
    ///
    /// # Errors
    /// Returns an error if the session broke. The entry may still get its place.
    pub async fn append(&mut self, operation: Uuid, event: Event) -> anyhow::Result<()> {
        loop {
            let entry = Entry {
                previous: self.chain.last_hash().to_owned(),
                at: Utc::now().trunc_subsecs(3),
                operator: self.operator.clone(),
                operation,
                event: event.clone(),
            };
            let body = serde_json::to_vec(&entry)?;
            let hash = chain::hash(&body);
            let message = MessageCopy::new(body).with_header(HASH, &hash);
            let published = self.session.publish_copies(EXCHANGE, &[(JOURNAL.to_owned(), message)]).await?;
            anyhow::ensure!(
                published == PublishOutcome::Confirmed,
                "the broker refuses the journal: {published:?}"
            );
            // Another console may have been faster. Then the entry does not count.
            while !self.chain.contains(&hash) {
                let message = self.reader.next(READ_TIMEOUT).await?;
                let message = message.ok_or_else(|| anyhow::anyhow!("the journal cannot be read"))?;
                self.chain.push(message.body(), message.header(HASH));
            }
            if self.chain.counts(&hash) {
                return Ok(());
            }
        }
    }

    async fn read_until(&mut self, silence: Duration) -> anyhow::Result<()> {
        while let Some(message) = self.reader.next(silence).await? {
            self.chain.push(message.body(), message.header(HASH));
        }
        Ok(())
    }
}
