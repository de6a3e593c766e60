//! Dead letters: rejected messages, unchanged, with the reason, the queue, and the time in their headers.
//!
//! The consumer publishes them itself, because the broker's own dead-lettering carries no reason.

use chrono::{SecondsFormat, Utc};
use contracts::topology::Queue;
use lapin::{BasicProperties, Confirmation};

use crate::{Incoming, Rejection, Session, SessionError, envelope::string_value, publisher::Publication};

pub(crate) const REJECTION_CODE: &str = "rejection-code";

impl Session {
    /// Publishes rejected messages to the dead letters of their queue and waits for the confirms.
    pub(crate) async fn dead_letter(
        &self,
        queue: &Queue,
        rejected: &[(&Incoming, Rejection)],
    ) -> Result<(), SessionError> {
        let publications = rejected.iter().map(|(message, rejection)| Publication {
            exchange: queue.dead_letter_exchange,
            routing_key: queue.name,
            properties: dead_letter_properties(message, queue, rejection),
            body: &message.delivery.data,
        });
        let confirmations = self.publish_all(publications).await?;
        if confirmations.iter().any(|confirmation| *confirmation != Confirmation::Ack(None)) {
            return Err(SessionError::DeadLettersRefused(queue.name));
        }
        for (message, rejection) in rejected {
            let message_id = message.delivery.properties.message_id();
            let message_id = message_id.as_ref().map(lapin::types::ShortString::as_str);
            tracing::warn!(
                queue = queue.name,
                message_id,
                reason = rejection.code(),
                "dead-lettered a message"
            );
        }
        Ok(())
    }
}

fn dead_letter_properties(message: &Incoming, queue: &Queue, rejection: &Rejection) -> BasicProperties {
    let properties = message.delivery.properties.clone();
    let mut headers = properties.headers().clone().unwrap_or_default();
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    headers.insert(REJECTION_CODE.into(), string_value(rejection.code()));
    headers.insert("rejection-reason".into(), string_value(&rejection.to_string()));
    headers.insert("rejected-from".into(), string_value(queue.name));
    headers.insert("rejected-at".into(), string_value(&now));
    properties.with_headers(headers)
}
