//! Dead letters: a rejected message, untouched, with the reason, the place and the time in its headers.
//!
//! The consumer sends them itself, because the broker's own dead-lettering carries no reason.

use chrono::{SecondsFormat, Utc};
use contracts::topology::Queue;
use lapin::{BasicProperties, Confirmation};

use crate::{Incoming, Rejection, Session, SessionError, envelope::text, publisher::Publication};

pub(crate) const REJECTION_CODE: &str = "rejection-code";

impl Session {
    /// Puts rejected messages into their queue's dead letters and returns once they are safe there.
    pub(crate) async fn dead_letter(
        &self,
        queue: &Queue,
        rejected: &[(&Incoming, Rejection)],
    ) -> Result<(), SessionError> {
        let publications = rejected.iter().map(|(message, rejection)| Publication {
            exchange: queue.dead_letter_exchange,
            routing_key: queue.name,
            properties: with_reason(message, queue, rejection),
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

fn with_reason(message: &Incoming, queue: &Queue, rejection: &Rejection) -> BasicProperties {
    let properties = message.delivery.properties.clone();
    let mut headers = properties.headers().clone().unwrap_or_default();
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    headers.insert(REJECTION_CODE.into(), text(rejection.code()));
    headers.insert("rejection-reason".into(), text(&rejection.to_string()));
    headers.insert("rejected-from".into(), text(queue.name));
    headers.insert("rejected-at".into(), text(&now));
    properties.with_headers(headers)
}
