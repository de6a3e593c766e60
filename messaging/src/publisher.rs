//! Publishing that knows what became of every message: pipelined, confirmed, mandatory.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Confirmation, PublisherConfirm, message::BasicReturnMessage,
    options::BasicPublishOptions,
};
use tokio::time::timeout;

use crate::{Outgoing, Session, SessionError};

/// How long the broker may take, after one message of a batch, for the next before the session is given up.
const PROGRESS: Duration = Duration::from_secs(10);

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has taken responsibility for it: it is in every queue that it was routed to.
    Confirmed,
    /// No queue is bound to receive it. It is nowhere.
    Returned,
    /// The broker refused it (a nack). It is nowhere for certain.
    Nacked,
}

/// One message as AMQP has it.
pub(crate) struct Publication<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) properties: BasicProperties,
    pub(crate) body: &'a [u8],
}

impl Session {
    /// Publishes a batch and waits until the broker has answered for all of it; a receipt for each, in
    /// order.
    ///
    /// While the broker blocks publishers (its memory or disk alarm) it goes on waiting.
    ///
    /// # Errors
    /// The session broke. Any of the messages may or may not have been taken.
    pub async fn publish(&self, batch: &[Outgoing]) -> Result<Vec<PublishOutcome>, SessionError> {
        let publications = batch.iter().map(|message| Publication {
            exchange: message.exchange,
            routing_key: &message.envelope.message_type,
            properties: message.envelope.properties(),
            body: &message.body,
        });
        let confirmations = self.publish_all(publications).await?;
        let returned = returned_ids(&confirmations);
        let receipt = |(message, confirmation): (&Outgoing, &Confirmation)| match confirmation {
            Confirmation::Ack(_) if returned.contains(&message.envelope.message_id.to_string()) => {
                PublishOutcome::Returned
            }
            Confirmation::Ack(_) => PublishOutcome::Confirmed,
            Confirmation::Nack(_) | Confirmation::NotRequested => PublishOutcome::Nacked,
        };
        Ok(batch.iter().zip(&confirmations).map(receipt).collect())
    }

    /// Publishes, and gives the session up if that fails: late answers would only confuse the next batch.
    pub(crate) async fn publish_all<'a>(
        &self,
        publications: impl Iterator<Item = Publication<'a>>,
    ) -> Result<Vec<Confirmation>, SessionError> {
        let confirmations = self.send_then_wait(publications).await;
        confirmations.inspect_err(|_| self.give_up())
    }

    /// Sends everything first and only then waits, so that a batch costs one round trip.
    ///
    /// Sending, too, is all at once: the client takes a message as sent when it has written it to the
    /// socket, so each one that is awaited alone costs a system call and two changes of thread.
    async fn send_then_wait<'a>(
        &self,
        publications: impl Iterator<Item = Publication<'a>>,
    ) -> Result<Vec<Confirmation>, SessionError> {
        let mut sending: FuturesOrdered<_> = publications.map(|publication| self.send(publication)).collect();
        let mut pending = Vec::with_capacity(sending.len());
        while let Some(sent) = self.unless_blocked("publish", sending.next()).await? {
            pending.push(sent?);
        }
        let mut confirmations = Vec::with_capacity(pending.len());
        for confirm in pending {
            confirmations.push(self.unless_blocked("confirm", confirm).await??);
        }
        Ok(confirmations)
    }

    async fn send(&self, publication: Publication<'_>) -> lapin::Result<PublisherConfirm> {
        let Publication { exchange, routing_key, properties, body } = publication;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await
    }

    /// Awaits the broker, but not for ever, unless it says itself that it takes nothing at the moment.
    async fn unless_blocked<T>(
        &self,
        what: &'static str,
        mut answer: impl Future<Output = T> + Unpin,
    ) -> Result<T, SessionError> {
        loop {
            match timeout(PROGRESS, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_) if self.is_blocked() && self.is_open() => {}
                Err(_) => return Err(SessionError::NoAnswer(what)),
            }
        }
    }
}

/// The `message_id`s that came back from a batch.
///
/// A return comes before its own ack, but the client hands it to whichever confirmation it resolves
/// next: when one ack covers several messages, that may be a neighbour's. So a message counts as
/// returned by its id, wherever in the batch the return turned up.
fn returned_ids(confirmations: &[Confirmation]) -> HashSet<String> {
    let returned = confirmations.iter().filter_map(|confirmation| match confirmation {
        Confirmation::Ack(returned) | Confirmation::Nack(returned) => returned.as_ref(),
        Confirmation::NotRequested => None,
    });
    returned.filter_map(message_id).collect()
}

fn message_id(returned: &BasicReturnMessage) -> Option<String> {
    returned.delivery.properties.message_id().as_ref().map(ToString::to_string)
}
