//! From the argument of the command to customers.

use std::str::FromStr;

use readers::web_store::Extent;
use uuid::Uuid;

use super::{
    letters::{self, Wanted},
    messages::command_id,
    servers::Servers,
};

/// The maximum of customers in one report.
const MAX_CUSTOMERS: usize = 100;

/// The argument: an id of a customer or of a message, or an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    Id(Uuid),
    Email(String),
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) if text.contains('@') => Ok(Self::Email(text.to_owned())),
            Err(_) => Err("neither an id, which is a UUID, nor an e-mail address".to_owned()),
        }
    }
}

/// The customers that a query leads to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The customers, by id.
    pub(super) customers: Vec<Uuid>,
    /// The message that the query names.
    pub(super) message: Option<Uuid>,
    /// Whether more customers than the maximum have the e-mail address.
    pub(super) is_truncated: bool,
}

impl Found {
    fn by_message(customer: Uuid, message: Uuid) -> Self {
        Self { customers: vec![customer], message: Some(message), is_truncated: false }
    }
}

/// Returns the customers of a query. An id that leads to none is returned as the id of a customer.
pub(super) async fn find(query: &Query, extent: Extent, servers: &mut Servers<'_>) -> Found {
    match query {
        Query::Id(id) => find_id(*id, extent, servers).await,
        Query::Email(email) => find_email(email, servers).await,
    }
}

async fn find_email(email: &str, servers: &mut Servers<'_>) -> Found {
    let registered = servers.in_web_store(async |web_store| web_store.with_email(email).await).await;
    let limit = MAX_CUSTOMERS + 1;
    let received = servers.in_marketing(async |marketing| marketing.with_email(email, limit).await).await;
    let mut customers: Vec<_> = registered.into_iter().chain(received).flatten().collect();
    customers.sort_unstable();
    customers.dedup();
    let is_truncated = customers.len() > MAX_CUSTOMERS;
    customers.truncate(MAX_CUSTOMERS);
    Found { customers, message: None, is_truncated }
}

async fn find_id(id: Uuid, extent: Extent, servers: &mut Servers<'_>) -> Found {
    let customer = Found { customers: vec![id], ..Found::default() };
    let registered = servers.in_web_store(async |web_store| web_store.count(&[id]).await).await;
    let received = servers.in_marketing(async |marketing| Ok(marketing.read(&[id]).await?.len())).await;
    if registered.is_some_and(|count| count > 0) || received.is_some_and(|count| count > 0) {
        return customer;
    }
    let event = servers.in_web_store(async |web_store| web_store.of_event(id).await).await;
    if let Some(owner) = event.flatten() {
        return Found::by_message(owner, id);
    }
    let wanted = Wanted::customers(&[id], &[]).with_message(id);
    let brokers = &servers.sources.connections.brokers;
    let (letters, _) = letters::read(brokers, &wanted, &mut servers.unreadable).await;
    if letters.iter().any(|letter| letter.customer_id == Some(id)) {
        return customer;
    }
    if let Some(owner) = letters.iter().find_map(|letter| letter.customer_id) {
        return Found::by_message(owner, id);
    }
    // A command's id is a hash of its event's id, so the events are compared one by one.
    let is_wanted = |event, is_registration| event == id || command_id(event, is_registration) == Some(id);
    let owner = servers.in_web_store(async |web_store| web_store.find_event(extent, is_wanted).await).await;
    match owner.flatten() {
        Some(owner) => Found::by_message(owner, id),
        None if letters.is_empty() => customer,
        // A message that names no customer.
        None => Found { message: Some(id), ..Found::default() },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Query;

    #[test]
    fn argument_is_id_or_address() {
        let id = Uuid::now_v7();
        assert_eq!(id.to_string().parse(), Ok(Query::Id(id)));
        assert_eq!("Ann@example.org".parse(), Ok(Query::Email("Ann@example.org".to_owned())));
        assert!("Ann".parse::<Query>().is_err());
    }
}
