//! Holds the messages of a queue: receives them one after another, removes some, and puts the others back.
//!
//! A quorum queue has no way to get a message by its id, so a program that wants one message holds those before it.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use lapin::{
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{
    Incoming, Session, SessionError,
    session::{close_channel, with_reply_timeout},
};

/// The maximum of unsettled messages for each consumer. The broker reads this number of messages from its disk
/// before it sends the first one: with 65,535 that took seconds.
const PREFETCH: u16 = 2000;

/// If the queue delivers nothing for this time, it is empty: its own consumer took the other messages.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// RabbitMQ's major version from which nacked messages return to their order, and are no failed deliveries. Before, the
/// messages of a closed session keep their order, up to 32 consumers, and those of a nack do not (seen with 3.10).
const NACK_KEEPS_ORDER: u32 = 4;

/// A queue whose messages this session holds. If it is dropped, the broker puts all messages back.
///
/// Consumers run one after another, so that only one consumer's messages are in memory. Each holds its messages
/// unsettled until the queue is released.
pub struct HeldQueue {
    session: Session,
    queue: String,
    consumer: Option<lapin::Consumer>,
    /// The messages that were ready at the start and have not been received.
    remaining: u32,
    /// The messages that the current consumer can still deliver.
    window: u32,
    /// The delivery tag after which the messages of the current consumer start.
    window_start: u64,
    /// The last delivery tags of the earlier consumers.
    window_ends: Vec<u64>,
    /// The delivery tags of the received messages that are not removed.
    held: BTreeSet<u64>,
    last_tag: u64,
    has_other_consumers: bool,
}

impl Session {
    /// Starts to hold the messages of a queue that are ready now. Returns `None` if the queue does not exist.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing.
    pub async fn hold(self, queue: &str) -> Result<Option<HeldQueue>, SessionError> {
        let Some(state) = self.queue_state(queue).await? else { return Ok(None) };
        Ok(Some(HeldQueue {
            session: self,
            queue: queue.to_owned(),
            consumer: None,
            remaining: state.ready_messages,
            window: 0,
            window_start: 0,
            window_ends: Vec::new(),
            held: BTreeSet::new(),
            last_tag: 0,
            has_other_consumers: state.consumers > 0,
        }))
    }

    /// Takes a lock that the broker keeps until this session closes. Returns whether no other session has it.
    ///
    /// The lock is an exclusive queue of this name. It has the same lifetime as the messages that the session holds.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing.
    pub async fn lock(&self, name: &str) -> Result<bool, SessionError> {
        let channel = self.open_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let declare = channel.queue_declare(name.into(), options, FieldTable::default());
        match with_reply_timeout("lock", declare).await {
            Ok(_) => close_channel(&channel).await.map(|()| true),
            Err(error) if error.is_locked() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl HeldQueue {
    /// Returns the next message, or `None` after the last one that was ready at the start.
    ///
    /// # Errors
    /// Returns an error if the session broke. Returns [`SessionError::ReplyTimeout`] if the broker withheld
    /// messages that no other consumer can have taken.
    pub async fn next(&mut self) -> Result<Option<Incoming>, SessionError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if self.window == 0 {
            self.start_window().await?;
        }
        let Some(consumer) = &mut self.consumer else { return Err(SessionError::Lost) };
        match timeout(SILENCE_TIMEOUT, consumer.next()).await {
            Ok(Some(delivery)) => {
                let delivery = delivery?;
                self.remaining -= 1;
                self.window -= 1;
                self.last_tag = delivery.delivery_tag;
                self.held.insert(self.last_tag);
                Ok(Some(Incoming::from(delivery)))
            }
            Ok(None) | Err(_) if self.has_other_consumers => {
                self.remaining = 0;
                Ok(None)
            }
            // No other consumer can have taken them.
            Ok(None) | Err(_) => Err(SessionError::ReplyTimeout("deliver ready messages")),
        }
    }

    /// Removes a received message from the queue. The caller has stored its effect before.
    ///
    /// # Errors
    /// Returns an error if the session broke. The broker then puts the message back.
    pub async fn remove(&mut self, message: &Incoming) -> Result<(), SessionError> {
        let tag = message.delivery.delivery_tag;
        let channel = self.session.channel();
        let ack = channel.basic_ack(tag, BasicAckOptions::default());
        with_reply_timeout("ack", ack).await?;
        if self.held.remove(&tag) && tag > self.window_start {
            self.window += 1;
        }
        Ok(())
    }

    /// Puts all messages that are not removed back to their places, and closes the session.
    ///
    /// Since RabbitMQ 4, this is no failed delivery of the messages. Before, it counts as one.
    ///
    /// # Errors
    /// Returns an error if the session broke. The broker puts the messages back also then.
    pub async fn release(mut self) -> Result<(), SessionError> {
        self.end_window().await?;
        if self.session.transport.broker_version() < NACK_KEEPS_ORDER {
            self.session.close().await;
            return Ok(());
        }
        // In the order of the consumers, because the broker puts messages back in the order of the requests.
        let channel = self.session.channel();
        let mut start = 0;
        let mut last_of_windows = Vec::new();
        for end in self.window_ends {
            last_of_windows.extend(self.held.range(start..=end).next_back());
            start = end + 1;
        }
        // 0 means all: after a removal, the broker delivers a message that became ready later.
        for last in last_of_windows.into_iter().chain([0]) {
            let options = BasicNackOptions { multiple: true, requeue: true };
            with_reply_timeout("put back", channel.basic_nack(last, options)).await?;
        }
        self.session.close().await;
        Ok(())
    }

    async fn start_window(&mut self) -> Result<(), SessionError> {
        self.end_window().await?;
        // The broker must not assign later messages: it would put them back in front of the others when the consumer is
        // cancelled (seen with 4.3).
        let prefetch = PREFETCH.min(u16::try_from(self.remaining).unwrap_or(PREFETCH));
        let channel = self.session.channel();
        with_reply_timeout("prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        // RabbitMQ 3.10 puts the messages of a closed session back in the order of up to 32 tags.
        let tag = format!("{:06}", self.window_ends.len());
        let queue = self.queue.as_str().into();
        let consume = channel.basic_consume(queue, tag.into(), options, FieldTable::default());
        self.consumer = Some(with_reply_timeout("consume", consume).await?);
        self.window = prefetch.into();
        Ok(())
    }

    /// Ends the deliveries of the current consumer, which keeps its messages.
    async fn end_window(&mut self) -> Result<(), SessionError> {
        let Some(consumer) = self.consumer.take() else { return Ok(()) };
        let channel = self.session.channel();
        let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        with_reply_timeout("cancel", cancel).await?;
        self.window_start = self.last_tag;
        self.window_ends.push(self.last_tag);
        Ok(())
    }
}
