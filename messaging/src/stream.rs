//! A stream: a log of messages that stay after they are read. <https://www.rabbitmq.com/docs/streams>

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use crate::{Incoming, Session, SessionError, envelope::string_value, session::with_reply_timeout};

/// The messages that the broker sends before the first ack. A stream delivers only with a limit.
const PREFETCH: u16 = 1000;

/// Reads the messages of a stream in their order.
pub struct StreamReader {
    consumer: lapin::Consumer,
    // Dropping it would close the channel.
    _channel: Channel,
}

impl Session {
    /// Starts to read a stream at its first message. Any number of readers see all messages.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if the stream does not exist.
    pub async fn read_stream(&self, name: &str) -> Result<StreamReader, SessionError> {
        self.read_stream_from(name, "first").await
    }

    /// Starts to read a stream at its last message. A few messages before it can precede it.
    ///
    /// # Errors
    /// Returns the errors of [`Session::read_stream`].
    pub async fn follow_stream(&self, name: &str) -> Result<StreamReader, SessionError> {
        self.read_stream_from(name, "last").await
    }

    async fn read_stream_from(&self, name: &str, offset: &str) -> Result<StreamReader, SessionError> {
        let channel = self.open_channel().await?;
        with_reply_timeout("prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), string_value(offset));
        let consume =
            channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments);
        let consumer = with_reply_timeout("consume", consume).await?;
        Ok(StreamReader { consumer, _channel: channel })
    }
}

impl StreamReader {
    /// Returns the next message, or `None` if none comes in time.
    ///
    /// # Errors
    /// Returns [`SessionError::Lost`] if the session or the stream ended.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<Incoming>, SessionError> {
        let Ok(delivery) = timeout(limit, self.consumer.next()).await else { return Ok(None) };
        let delivery = delivery.ok_or(SessionError::Lost)??;
        with_reply_timeout("ack", delivery.ack(BasicAckOptions::default())).await?;
        Ok(Some(Incoming::from(delivery)))
    }
}
