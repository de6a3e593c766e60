//! Requests for replays, and the log of lost customers.

use anyhow::{Context, ensure};
use contracts::{
    CustomerDetailsChanged, CustomerErased, CustomerRegistered, MAX_REPLAYED_CUSTOMERS, Message,
    ReplayCustomers, ReplayedCustomer,
    topology::{
        Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED, TRANSFORMER_CUSTOMER_ERASED,
        TRANSFORMER_CUSTOMER_REGISTERED,
    },
};
use messaging::{BrokerUrl, Outgoing, PublishOutcome, Session};
use uuid::Uuid;

use crate::report::State;

/// The maximum of ids in one line of the log.
const MAX_LOGGED_IDS: usize = 20;

/// A customer without a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) id: Uuid,
    /// The version of the Web Store, or 0 for an erased customer.
    pub(super) version: i64,
    /// The version of Marketing, or `None` without a row.
    pub(super) marketing: Option<i64>,
    pub(super) state: State,
    /// Whether an earlier request for this customer had no effect.
    pub(super) requested_before: bool,
}

/// Customers that one request can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// The event of the erasure makes Marketing forget the customer.
    Erased,
    /// The event of the registration restores the customer.
    Registered,
    /// The event of a later version restores the customer. It contains all details.
    Changed,
    /// The Web Store creates a newer version. It rejects a whole request with a version that it cannot exceed.
    Ahead,
    /// One of these may have such a version, so each is requested alone.
    AheadAgain,
}

/// Sends requests to the Web Store.
#[derive(Debug)]
pub(super) struct Replays {
    broker: BrokerUrl,
}

impl Replays {
    pub(super) fn new(broker: &BrokerUrl) -> Self {
        Self { broker: broker.clone() }
    }

    /// Requests a replay of up to [`MAX_REPLAYED_CUSTOMERS`] customers of one queue, and returns them.
    ///
    /// # Errors
    /// Returns an error if the broker does not confirm the request.
    pub(super) async fn request(&self, lost: Vec<Lost>) -> anyhow::Result<Vec<Lost>> {
        // A later check requests the others: each customer that was requested pauses.
        let Some(group) = lost.iter().map(Lost::group).min() else { return Ok(lost) };
        let (queue, event_type) = match group {
            Group::Erased => (TRANSFORMER_CUSTOMER_ERASED, CustomerErased::TYPE),
            Group::Registered => (TRANSFORMER_CUSTOMER_REGISTERED, CustomerRegistered::TYPE),
            _ => (TRANSFORMER_CUSTOMER_DETAILS_CHANGED, CustomerDetailsChanged::TYPE),
        };
        let limit = if group == Group::AheadAgain { 1 } else { MAX_REPLAYED_CUSTOMERS };
        let customers: Vec<_> = lost.into_iter().filter(|lost| lost.group() == group).take(limit).collect();
        self.publish(queue, event_type, &customers).await.context("cannot request a replay")?;
        Ok(customers)
    }

    async fn publish(
        &self,
        queue: Queue,
        event_type: &'static str,
        customers: &[Lost],
    ) -> anyhow::Result<()> {
        let message = Outgoing::first(&command(queue.name, event_type, customers), "console");
        let session = Session::open_publisher(&self.broker, "console").await?;
        let outcomes = session.publish(&[message]).await?;
        session.close().await;
        ensure!(
            outcomes == [PublishOutcome::Confirmed],
            "no queue takes the request; check that a Web Store runs that supports replays"
        );
        Ok(())
    }
}

/// Returns the command to publish one event of each customer again, into one queue.
fn command(queue: &str, event_type: &str, customers: &[Lost]) -> ReplayCustomers {
    ReplayCustomers {
        queue: queue.to_owned(),
        event_types: Some(vec![event_type.to_owned()]),
        since: None,
        until: None,
        customers: Some(customers.iter().map(Lost::request).collect()),
    }
}

impl Lost {
    /// Returns an erased customer that Marketing still has.
    pub(super) fn not_forgotten(id: Uuid) -> Self {
        Self { id, version: 0, marketing: None, state: State::NotForgotten, requested_before: false }
    }

    fn group(&self) -> Group {
        match (self.state, self.version) {
            (State::NotForgotten, _) => Group::Erased,
            (State::Ahead, _) if self.requested_before => Group::AheadAgain,
            (State::Ahead, _) => Group::Ahead,
            (State::Missing, 1) => Group::Registered,
            _ => Group::Changed,
        }
    }

    /// Returns the customer as the command names it: with Marketing's version if the Web Store must exceed it.
    fn request(&self) -> ReplayedCustomer {
        let version = self.marketing.filter(|_| self.state == State::Ahead);
        // Marketing's column has no larger numbers.
        ReplayedCustomer {
            customer_id: self.id,
            version: version.and_then(|version| version.try_into().ok()),
        }
    }
}

/// Logs customers, with up to [`MAX_LOGGED_IDS`] ids.
pub(super) fn log(event: &str, state: State, customers: &[Uuid]) {
    if customers.is_empty() {
        return;
    }
    let ids: Vec<String> = customers.iter().take(MAX_LOGGED_IDS).map(Uuid::to_string).collect();
    tracing::warn!(reason = ?state, customers = customers.len(), ids = ids.join(" "), "{event}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::{Group, Lost, command};
    use crate::report::State;

    #[test]
    fn customer_with_impossible_version_is_finally_requested_alone() {
        let lost = Lost {
            id: Uuid::nil(),
            version: 1,
            marketing: Some(i64::MAX),
            state: State::Ahead,
            requested_before: false,
        };
        assert_eq!(lost.group(), Group::Ahead);
        assert_eq!(Lost { requested_before: true, ..lost }.group(), Group::AheadAgain);
        assert_eq!(Lost { state: State::Missing, ..lost }.group(), Group::Registered);
        assert_eq!(Lost { state: State::Missing, version: 2, ..lost }.group(), Group::Changed);
    }

    #[test]
    fn request_has_version_only_if_marketing_is_ahead() {
        let lost = |version, marketing, state| Lost {
            id: Uuid::nil(),
            version,
            marketing,
            state,
            requested_before: false,
        };
        let customers = [lost(2, Some(1), State::Behind), lost(2, Some(9), State::Ahead)];
        let command = command("queue", "type", &customers);
        let id = Uuid::nil();
        let expected = json!({
            "queue": "queue", "event_types": ["type"],
            "customers": [{ "customer_id": id }, { "customer_id": id, "version": 9 }],
        });
        assert_eq!(serde_json::to_value(&command).unwrap(), expected);
    }
}
