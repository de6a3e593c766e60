//! A data subject: a person with an e-mail address, the customers with it, and everything that the servers have of them.
//!
//! `console export` and `console erase` find a person in the same way.

mod letters;
mod mention;

use std::collections::{BTreeSet, HashSet};

use anyhow::ensure;
use uuid::Uuid;

pub(crate) use letters::{Letters, find_letters};
pub(crate) use mention::mentions;

use readers::{
    connections::Connections,
    marketing::{Marketing, ReceivedRow},
    web_store::{Version, WebStore},
};

use crate::find::command_id;

/// Parses the e-mail address of a person.
///
/// # Errors
/// Returns an error if the text has no characters before and after an @.
pub(crate) fn parse_address(text: &str) -> anyhow::Result<String> {
    let is_address =
        text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    ensure!(is_address, "not an e-mail address");
    Ok(text.to_owned())
}

/// A person, the person's letters, and the databases that were searched.
pub(crate) struct Search {
    pub(crate) web_store: WebStore,
    pub(crate) marketing: Marketing,
    pub(crate) subject: Subject,
    pub(crate) letters: Letters,
}

impl Search {
    /// Searches all servers for a person, as [`Subject::find`]. Returns `None` if none has data. `why` is the reason for
    /// the journal.
    ///
    /// # Errors
    /// Returns an error if a server cannot be read, or if the reason contains an address of the person.
    pub(crate) async fn run(
        connections: &Connections,
        address: Option<&str>,
        customers: &[Uuid],
        why: &str,
    ) -> anyhow::Result<Option<Self>> {
        let mut web_store = WebStore::connect(&connections.web_store_database_url).await?;
        let mut marketing = Marketing::connect(&connections.marketing_database_url).await?;
        let mut subject = Subject::find(address, customers, &mut web_store, &mut marketing).await?;
        ensure!(
            !subject.is_mentioned_in(why),
            "the reason must not contain the address, because the journal keeps it permanently"
        );
        let letters =
            find_letters(&connections.brokers, &mut subject, &mut web_store, &mut marketing).await?;
        let has_data = !subject.customers.is_empty() || !letters.own.is_empty();
        Ok(has_data.then_some(Self { web_store, marketing, subject, letters }))
    }
}

/// The maximum of Marketing's rows with one address.
const MAX_ROWS: usize = 1000;

/// A person, with all ids and addresses that lead to their data.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    pub(crate) customers: BTreeSet<Uuid>,
    /// The addresses of the customers, in lower case.
    pub(crate) addresses: BTreeSet<String>,
    /// The ids of the events and commands of all versions.
    messages: HashSet<Uuid>,
}

impl Subject {
    /// Returns the person with an e-mail address, with these customers, or with both.
    ///
    /// The customers are those with the address in either database. The addresses are those of the customers.
    ///
    /// # Errors
    /// Returns an error if a database cannot be read.
    async fn find(
        address: Option<&str>,
        customers: &[Uuid],
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<Self> {
        let mut subject = Self { customers: customers.iter().copied().collect(), ..Self::default() };
        if let Some(address) = address {
            subject.addresses.insert(address.to_lowercase());
            subject.customers.extend(web_store.with_email(address).await?);
            subject.customers.extend(marketing.with_email(address, MAX_ROWS).await?);
        }
        subject.complete(web_store, marketing).await?;
        Ok(subject)
    }

    /// Adds the addresses and the messages of the customers.
    async fn complete(&mut self, web_store: &mut WebStore, marketing: &mut Marketing) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = self.customers.iter().copied().collect();
        for Version { email, message_id, changed_at, .. } in web_store.versions(&ids).await? {
            self.addresses.insert(email.to_lowercase());
            self.messages.insert(message_id);
            self.messages.extend(command_id(message_id, changed_at.is_none()));
        }
        let rows = marketing.received(&ids).await?;
        let addresses = rows.iter().filter(|found| !found.row.is_forgotten());
        self.addresses.extend(addresses.map(|ReceivedRow { row, .. }| row.email_address.to_lowercase()));
        Ok(())
    }

    /// Returns the ids of the customers.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.customers.iter().copied().collect()
    }

    /// Returns whether a text contains one of the addresses.
    pub(crate) fn is_mentioned_in(&self, text: &str) -> bool {
        self.addresses.iter().any(|address| mentions(text, address))
    }

    /// Adds the customers that only letters lead to, without those that have another address in the Web Store.
    async fn add(
        &mut self,
        mut found: Vec<Uuid>,
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<()> {
        let versions = web_store.versions(&found).await?;
        let is_other = |id: &Uuid| {
            let mut own = versions.iter().filter(|version| version.customer_id == *id).peekable();
            own.peek().is_some() && own.all(|version| !self.addresses.contains(&version.email.to_lowercase()))
        };
        found.retain(|id| !is_other(id));
        if !found.is_empty() {
            self.customers.extend(found);
            self.complete(web_store, marketing).await?;
        }
        Ok(())
    }
}
