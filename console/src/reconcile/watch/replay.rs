//! Requests for replays, and the log of lost customers.

use anyhow::{Context, ensure};
use chrono::Utc;
use contracts::{
    CustomerDetailsChanged, CustomerRegistered, Message,
    topology::{Queue, TRANSFORMER_CUSTOMER_DETAILS_CHANGED, TRANSFORMER_CUSTOMER_REGISTERED},
};
use messaging::{BrokerUrl, Envelope, Outgoing, PublishOutcome, Session, child_traceparent};
use serde::Serialize;
use uuid::Uuid;

use crate::reconcile::report::State;

/// The maximum of customers in one request.
const MAX_CUSTOMERS: usize = 1000;

/// The maximum of ids in one line of the log.
const MAX_LOGGED_IDS: usize = 20;

const EXCHANGE: &str = "web-store.commands";
const MESSAGE_TYPE: &str = "web-store.replay-customers.v1";

/// A customer without a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) id: Uuid,
    /// The version of the Web Store.
    pub(super) version: i64,
    /// The version of Marketing, or `None` without a row.
    pub(super) marketing: Option<i64>,
    pub(super) state: State,
}

/// The command to publish the events of customers again, into one queue.
#[derive(Debug, Serialize)]
struct ReplayCustomers {
    queue: &'static str,
    event_types: [&'static str; 1],
    customers: Vec<RequestedCustomer>,
}

#[derive(Debug, Serialize)]
struct RequestedCustomer {
    customer_id: Uuid,
    /// The subscriber's version, if it is newer than the Web Store's. The Web Store then continues from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
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

    /// Requests a replay of up to [`MAX_CUSTOMERS`] customers of one queue, and returns them.
    ///
    /// # Errors
    /// Returns an error if the broker does not confirm the request.
    pub(super) async fn request(&self, lost: Vec<Lost>) -> anyhow::Result<Vec<Lost>> {
        let (registered, changed): (Vec<_>, Vec<_>) = lost.into_iter().partition(Lost::is_registration);
        // A later check requests the others: each customer that was requested pauses.
        let (queue, event_type, mut customers) = if registered.is_empty() {
            (TRANSFORMER_CUSTOMER_DETAILS_CHANGED, CustomerDetailsChanged::TYPE, changed)
        } else {
            (TRANSFORMER_CUSTOMER_REGISTERED, CustomerRegistered::TYPE, registered)
        };
        customers.truncate(MAX_CUSTOMERS);
        if !customers.is_empty() {
            self.publish(queue, event_type, &customers).await.context("cannot request a replay")?;
        }
        Ok(customers)
    }

    async fn publish(
        &self,
        queue: Queue,
        event_type: &'static str,
        customers: &[Lost],
    ) -> anyhow::Result<()> {
        let command = ReplayCustomers {
            queue: queue.name,
            event_types: [event_type],
            customers: customers.iter().map(Lost::request).collect(),
        };
        let message_id = Uuid::now_v7();
        let envelope = Envelope {
            message_id,
            message_type: MESSAGE_TYPE.into(),
            correlation_id: message_id.to_string(),
            causation_id: None,
            traceparent: child_traceparent(None),
            timestamp: Utc::now(),
            app_id: "console",
        };
        let message = Outgoing { exchange: EXCHANGE, envelope, body: serde_json::to_vec(&command)? };
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

impl Lost {
    /// Returns whether the event of the registration restores the customer. Otherwise a later version is lost, and its
    /// event contains all details.
    fn is_registration(&self) -> bool {
        self.state == State::Missing && self.version == 1
    }

    fn request(&self) -> RequestedCustomer {
        let version = self.marketing.filter(|_| self.state == State::Ahead);
        RequestedCustomer { customer_id: self.id, version }
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

    use super::{Lost, ReplayCustomers};
    use crate::reconcile::report::State;

    #[test]
    fn request_has_version_only_if_marketing_is_ahead() {
        let lost = |version, marketing, state| Lost { id: Uuid::nil(), version, marketing, state };
        let customers = [lost(2, Some(1), State::Behind), lost(2, Some(9), State::Ahead)];
        let command = ReplayCustomers {
            queue: "queue",
            event_types: ["type"],
            customers: customers.iter().map(Lost::request).collect(),
        };
        let id = Uuid::nil();
        let expected = json!({
            "queue": "queue", "event_types": ["type"],
            "customers": [{ "customer_id": id }, { "customer_id": id, "version": 9 }],
        });
        assert_eq!(serde_json::to_value(&command).unwrap(), expected);
    }
}
