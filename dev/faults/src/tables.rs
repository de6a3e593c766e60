//! The tables of customers of both applications, and the differences between them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use crate::system::System;

/// The details that both applications have of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    version: i64,
    name: String,
    consent: bool,
}

/// The customers of both applications, by id.
pub(crate) struct Tables {
    pub(crate) web_store: HashMap<String, Details>,
    pub(crate) marketing: HashMap<String, Details>,
    /// The number of Marketing's rows beyond one for each customer.
    pub(crate) duplicated: usize,
}

impl System {
    /// Returns the Web Store's customers who were last changed until a time, and all customers of Marketing.
    pub(crate) async fn read_tables(&self, until: DateTime<Utc>) -> anyhow::Result<Tables> {
        let select = "SELECT id::text, version::bigint, name, marketing_consent FROM customers
            WHERE coalesce(changed_at, registered_at) <= $1";
        let web_store: Vec<(String, i64, String, bool)> =
            sqlx::query_as(select).bind(until).fetch_all(&self.web_store_database).await?;
        let select = "SELECT customer_id, CAST(version AS SIGNED), full_name, email_opt_in FROM customers";
        let marketing: Vec<(String, i64, String, bool)> =
            sqlx::query_as(select).fetch_all(&self.marketing_database).await?;
        let rows = marketing.len();
        let details = |(id, version, name, consent)| (id, Details { version, name, consent });
        let marketing: HashMap<_, _> = marketing.into_iter().map(details).collect();
        let duplicated = rows - marketing.len();
        Ok(Tables { web_store: web_store.into_iter().map(details).collect(), marketing, duplicated })
    }
}

impl Tables {
    /// Returns the number of the Web Store's customers that Marketing does not have.
    pub(crate) fn missing(&self) -> usize {
        self.web_store.keys().filter(|id| !self.marketing.contains_key(*id)).count()
    }

    /// Returns the number of customers with other details in Marketing.
    pub(crate) fn different(&self) -> usize {
        let is_different = |(id, details): &(&String, &Details)| {
            self.marketing.get(*id).is_some_and(|other| other != *details)
        };
        self.web_store.iter().filter(is_different).count()
    }

    /// Returns the number of Marketing's customers that the Web Store does not have.
    pub(crate) fn unknown(&self) -> usize {
        let known: HashSet<_> = self.web_store.keys().collect();
        self.marketing.keys().filter(|id| !known.contains(id)).count()
    }

    /// Returns the number of customers whose name in Marketing is not the one that the Web Store has confirmed last.
    pub(crate) fn outdated(&self, confirmed: &HashMap<String, String>) -> usize {
        let is_outdated = |(id, name): &(&String, &String)| {
            self.marketing.get(*id).is_none_or(|details| details.name != **name)
        };
        confirmed.iter().filter(is_outdated).count()
    }
}
