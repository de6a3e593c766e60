//! Publishing: pipelined, mandatory, and with a confirmed outcome for every message.

use std::{borrow::Cow, collections::HashSet, time::Duration};

use futures_util::{StreamExt, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm, message::BasicReturnMessage,
    options::BasicPublishOptions,
};
use telemetry::publish_span;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{Outgoing, Session, SessionError};

/// The time that the broker has for each next message of a batch before the session fails.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// The outcome of publishing one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has taken responsibility: the message is in every queue that it was routed to.
    Confirmed,
    /// No queue is bound to receive the message. No queue contains it.
    Returned,
    /// The broker refused the message. Whether any queue contains it is unknown.
    Nacked,
}

impl PublishOutcome {
    /// Returns the name of a refusal for metrics and spans.
    pub(crate) fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Confirmed => None,
            Self::Returned => Some("returned"),
            Self::Nacked => Some("nacked"),
        }
    }
}

/// One message in the terms of AMQP.
pub(crate) struct Publication<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: Cow<'a, str>,
    pub(crate) properties: BasicProperties,
    pub(crate) body: &'a [u8],
}

impl Session {
    /// Publishes a batch, waits for all confirms, and returns the outcomes in the order of the messages. The type of
    /// each message decides its routing key, see [`contracts::operations::routing_key`].
    ///
    /// While the broker blocks publishers because of a memory or disk alarm, the wait has no timeout.
    ///
    /// # Errors
    /// Returns an error if the session broke. The broker may have taken any of the messages.
    pub async fn publish(&self, batch: &[Outgoing]) -> Result<Vec<PublishOutcome>, SessionError> {
        self.publish_routed(batch, None).await
    }

    /// Publishes a batch as [`Session::publish`], with one routing key for all messages. A direct exchange routes them
    /// to the queue that is bound with this key.
    ///
    /// # Errors
    /// Returns the errors of [`Session::publish`].
    pub async fn publish_to_key(
        &self,
        routing_key: &str,
        batch: &[Outgoing],
    ) -> Result<Vec<PublishOutcome>, SessionError> {
        self.publish_routed(batch, Some(routing_key)).await
    }

    async fn publish_routed(
        &self,
        batch: &[Outgoing],
        routing_key: Option<&str>,
    ) -> Result<Vec<PublishOutcome>, SessionError> {
        let started = Instant::now();
        let created = batch.iter().map(|message| message.envelope.created());
        let mut span = batch.first().and_then(|message| publish_span(message.exchange, routing_key, created));
        let publications = batch.iter().map(|message| Publication {
            exchange: message.exchange,
            routing_key: routing_key.map_or_else(|| message.routing_key(), Cow::Borrowed),
            properties: message.envelope.properties(),
            body: &message.body,
        });
        let published = self.publish_all(publications).await;
        if let (Some(span), Err(error)) = (&mut span, &published) {
            span.fail(error.name());
        }
        let confirmations = published?;
        if confirmations.iter().any(|confirmation| matches!(confirmation, Confirmation::Nack(_))) {
            self.replace_channel().await.inspect_err(|_| self.mark_broken())?;
        }
        let returned = returned_ids(&confirmations);
        let outcome = |(message, confirmation): (&Outgoing, &Confirmation)| match confirmation {
            Confirmation::Ack(_) if returned.contains(&message.envelope.message_id) => {
                PublishOutcome::Returned
            }
            Confirmation::Ack(_) => PublishOutcome::Confirmed,
            Confirmation::Nack(_) | Confirmation::NotRequested => PublishOutcome::Nacked,
        };
        let outcomes: Vec<_> = batch.iter().zip(&confirmations).map(outcome).collect();
        let refused = outcomes.iter().find_map(|outcome| outcome.error_type());
        if let (Some(span), Some(refused)) = (&mut span, refused) {
            span.fail(refused);
        }
        if let Some(metrics) = &self.metrics {
            metrics.published(batch, &outcomes, routing_key, started.elapsed());
        }
        Ok(outcomes)
    }

    /// Publishes messages and returns their confirmations.
    ///
    /// Marks the session as broken if that fails, because late confirms would be mistaken for the next batch's.
    pub(crate) async fn publish_all<'a>(
        &self,
        publications: impl Iterator<Item = Publication<'a>>,
    ) -> Result<Vec<Confirmation>, SessionError> {
        let confirmations = self.send_then_wait(publications).await;
        confirmations.inspect_err(|_| self.mark_broken())
    }

    /// Sends all messages before it waits for the confirms, so that a batch costs one round trip.
    ///
    /// All messages are also sent concurrently. The client reports a message as sent when it has written it to
    /// the socket. Awaiting each one alone therefore costs a system call and two thread switches.
    async fn send_then_wait<'a>(
        &self,
        publications: impl Iterator<Item = Publication<'a>>,
    ) -> Result<Vec<Confirmation>, SessionError> {
        let channel = self.channel();
        let mut sending: FuturesOrdered<_> =
            publications.map(|publication| send(&channel, publication)).collect();
        let mut pending = Vec::with_capacity(sending.len());
        while let Some(sent) = self.with_confirm_timeout("publish", sending.next()).await? {
            pending.push(sent?);
        }
        let mut confirmations = Vec::with_capacity(pending.len());
        for confirm in pending {
            confirmations.push(self.with_confirm_timeout("confirm", confirm).await??);
        }
        Ok(confirmations)
    }

    /// Waits for the broker with a timeout, which does not apply while the broker blocks publishers.
    async fn with_confirm_timeout<T>(
        &self,
        operation: &'static str,
        mut reply: impl Future<Output = T> + Unpin,
    ) -> Result<T, SessionError> {
        loop {
            match timeout(CONFIRM_TIMEOUT, &mut reply).await {
                Ok(reply) => return Ok(reply),
                Err(_) if self.is_blocked() && self.is_open() => {}
                Err(_) => return Err(SessionError::ReplyTimeout(operation)),
            }
        }
    }
}

async fn send(channel: &Channel, publication: Publication<'_>) -> lapin::Result<PublisherConfirm> {
    let Publication { exchange, routing_key, properties, body } = publication;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    channel.basic_publish(exchange.into(), routing_key.as_ref().into(), options, body, properties).await
}

/// Returns the `message_id`s of the returned messages of a batch.
///
/// A return precedes its own ack, but the client attaches it to the next confirmation that it resolves. If one
/// ack covers several messages, that may be another message's confirmation. Therefore the id identifies a
/// returned message, regardless of the position of the return in the batch.
fn returned_ids(confirmations: &[Confirmation]) -> HashSet<Uuid> {
    let returned = confirmations.iter().filter_map(|confirmation| match confirmation {
        Confirmation::Ack(returned) | Confirmation::Nack(returned) => returned.as_ref(),
        Confirmation::NotRequested => None,
    });
    returned.filter_map(message_id).collect()
}

fn message_id(returned: &BasicReturnMessage) -> Option<Uuid> {
    Uuid::try_parse(returned.delivery.properties.message_id().as_ref()?.as_str()).ok()
}
