//! Looking into a queue: every message that is ready is read, and all are put back.

use std::time::Duration;

use futures_util::{StreamExt, stream::select_all};
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{Incoming, Session, SessionError, session::answered, topology::is_not_found};

/// The most messages that the broker hands to one consumer unsettled.
const PREFETCH: u16 = u16::MAX;

/// A queue that hands out nothing for so long has nothing more: its own consumer took the rest.
const SILENCE: Duration = Duration::from_secs(1);

impl Session {
    /// Shows every message that is ready in a queue and puts them all back, in their order, by closing
    /// the session. A queue that does not exist is an empty one.
    ///
    /// Meanwhile the queue's own consumers do not get these messages. Each look counts as one delivery
    /// of each message.
    ///
    /// # Errors
    /// The session broke. The messages are put back even so.
    pub async fn look_into(self, queue: &str, mut see: impl FnMut(&Incoming)) -> Result<(), SessionError> {
        let ready = self.ready(queue).await?.unwrap_or(0);
        let options = BasicQosOptions::default();
        answered("prefetch", self.channel.basic_qos(PREFETCH, options)).await?;
        let mut consumers = Vec::new();
        for _ in 0..ready.div_ceil(PREFETCH.into()) {
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consume = self.channel.basic_consume(queue.into(), "".into(), options, arguments);
            consumers.push(answered("consume", consume).await?);
        }
        let mut deliveries = select_all(consumers);
        for _ in 0..ready {
            match timeout(SILENCE, deliveries.next()).await {
                Ok(Some(delivery)) => see(&Incoming { delivery: delivery? }),
                Ok(None) | Err(_) => break,
            }
        }
        self.close().await;
        Ok(())
    }

    /// How many messages are ready in a queue; `None` if there is no such queue.
    ///
    /// Asked on a channel of its own, because "no such queue" closes it.
    pub(crate) async fn ready(&self, queue: &str) -> Result<Option<u32>, SessionError> {
        let channel = answered("open a channel", self.connection.create_channel()).await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = channel.queue_declare(queue.into(), passive, FieldTable::default());
        match answered("look for a queue", asked).await {
            Ok(found) => {
                answered("close a channel", channel.close(200, "done".into())).await?;
                Ok(Some(found.message_count()))
            }
            Err(SessionError::Broken(error)) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
