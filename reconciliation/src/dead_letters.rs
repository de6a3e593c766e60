//! Dead letters and the customers that they concern.
//!
//! The dead-letter queues have no consumers, so they are read by consuming. All letters return to their places.

use std::collections::BTreeMap;

use contracts::{CreateCustomer, CustomerRegistered, Message};
use messaging::Incoming;
use readers::letter_queue;
use serde::Deserialize;
use uuid::Uuid;

use crate::{flow, report::DeadLetterCounts, sources::Sources};

/// The version that a registration creates.
const FIRST_VERSION: i64 = 1;

/// A dead letter that concerns a customer.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The id of the customer.
    pub customer: Uuid,
    /// The version of the customer in the message, or `None` if the message does not show it.
    pub version: Option<i64>,
    /// The code of the rejection, or `no-reason`.
    pub reason: &'a str,
}

impl<'a> DeadLetter<'a> {
    /// Returns the customer and the version in a message of any type, or `None` if it names no customer.
    #[must_use]
    pub fn of(message: &'a Incoming) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            customer_id: Uuid,
            version: Option<serde_json::Value>,
        }
        let body: Body = serde_json::from_slice(message.body()).ok()?;
        let first = [CustomerRegistered::TYPE, CreateCustomer::TYPE].contains(&message.message_type());
        let version =
            if first { Some(FIRST_VERSION) } else { body.version.and_then(|version| version.as_i64()) };
        let reason = message.rejection_code().unwrap_or("no-reason");
        Some(Self { customer: body.customer_id, version, reason })
    }

    /// Returns whether the letter may contain this version of its customer.
    pub(crate) fn explains(&self, version: i64) -> bool {
        may_contain(self.version, version)
    }

    /// Returns whether a consumer rejected the message, or could not process it. A policy of the broker says nothing
    /// about the message: it expired, or its queue was long.
    pub(crate) fn is_about_message(&self) -> bool {
        !["expired", "maxlen"].contains(&self.reason)
    }
}

/// Returns whether a letter may contain a version of its customer. `own` is the version that the letter shows.
#[must_use]
pub fn may_contain(own: Option<i64>, version: i64) -> bool {
    own.is_none_or(|own| own == version)
}

/// Passes the dead letters of all queues to `visit`, and returns their number.
///
/// # Errors
/// Returns an error if a broker cannot be read.
pub(crate) async fn read(
    sources: &Sources,
    mut visit: impl FnMut(&DeadLetter<'_>),
) -> anyhow::Result<DeadLetterCounts> {
    let mut counts = DeadLetterCounts::default();
    for (_, queue) in flow::queues() {
        let broker = sources.connections.brokers.of(queue);
        let name = queue.dead_letter_queue();
        let mut reasons = BTreeMap::new();
        letter_queue::peek(broker, &name, |letter| {
            let reason = letter.rejection_code().unwrap_or("no-reason");
            *reasons.entry(reason.to_owned()).or_default() += 1;
            if let Some(letter) = DeadLetter::of(letter) {
                visit(&letter);
            }
        })
        .await?;
        if !reasons.is_empty() {
            counts.insert(name, reasons);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::DeadLetter;

    #[test]
    fn letter_explains_only_its_own_version() {
        let letter = |version| DeadLetter { customer: Uuid::nil(), version, reason: "rule-broken" };
        assert!(letter(Some(2)).explains(2) && !letter(Some(1)).explains(2));
        assert!(letter(None).explains(2), "the version is malformed");
    }

    #[test]
    fn policy_of_the_broker_is_not_about_the_message() {
        let letter = |reason| DeadLetter { customer: Uuid::nil(), version: None, reason };
        assert!(letter("rule-broken").is_about_message() && letter("delivery_limit").is_about_message());
        assert!(!letter("expired").is_about_message() && !letter("maxlen").is_about_message());
    }
}
