//! Publishes messages of the fuzzer over one connection at a time.

use std::time::Duration;

use system_tests::TestEnvironment;
use tokio::time::timeout;

use super::{draft::USER, message::FuzzMessage, report::NO_REPLY};
use crate::wire::{Connection, Outcome};

/// A connection that is opened again whenever the broker has closed it.
pub(crate) struct Publisher<'a> {
    environment: &'a TestEnvironment,
    /// The broker has this long to take a message. It may be waiting for frames that never come.
    reply_timeout: Duration,
    connection: Option<Connection>,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(environment: &'a TestEnvironment, reply_timeout: Duration) -> Self {
        Self { environment, reply_timeout, connection: None }
    }

    /// Publishes a message, and returns the broker's reaction.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached. The message has not been sent then.
    pub(crate) async fn publish(&mut self, message: &FuzzMessage) -> anyhow::Result<Outcome> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.environment).await?,
        };
        let outcome = timeout(self.reply_timeout, connection.publish_frames(&message.frames)).await;
        // After a timeout, the reply may still come, so the connection cannot be used again.
        let keeps_connection = outcome.is_ok() && connection.is_open();
        self.connection = keeps_connection.then_some(connection);
        Ok(outcome.unwrap_or_else(|_| Outcome::Refused(NO_REPLY.to_owned())))
    }
}

/// Connects as a user that may publish to every exchange and read every queue.
///
/// # Errors
/// Returns an error if the broker cannot be reached.
pub(crate) async fn connect(environment: &TestEnvironment) -> anyhow::Result<Connection> {
    let urls = environment.connection_urls();
    Connection::open(urls.ports.broker, &urls.virtual_host, USER).await
}
