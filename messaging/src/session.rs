//! A session: one connection with one channel, in confirm mode, that lives or dies as a whole.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lapin::{Channel, Connection, ConnectionProperties, options::ConfirmSelectOptions};
use tokio::time::{sleep, timeout};

use crate::BrokerUrl;

/// How long the broker may take to answer before the session is given up.
const ANSWER: Duration = Duration::from_secs(5);

/// The largest frame, in bytes: RabbitMQ's own default. The client has a buffer of 32 frames for each
/// direction. Told beforehand, it takes memory as it fills them; told by the broker, all 8 MiB at once.
const FRAME: u32 = 131_072;

/// Enough for one of our own messages; longer ones take several frames. The headers of others, which come in
/// one frame however long, may be larger, so whoever consumes cannot do with it. RabbitMQ 4 asks for no less.
const SMALL_FRAME: u32 = 8_192;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A connection to the broker with its channel. After any error it is of no more use: drop it and let
/// the supervisor open another.
pub struct Session {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
    broken: AtomicBool,
}

/// What ends a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The broker closed the channel or the connection, or cannot be reached.
    #[error("the broker at {broker} cannot be reached: {reason}")]
    Unreachable {
        /// Its address, without credentials.
        broker: String,
        /// What the client says. Not a source, since it tells its own sources already.
        reason: lapin::Error,
    },
    /// The broker, or the network, broke a session that was open.
    #[error("the session with the broker broke: {0}")]
    Broken(lapin::Error),
    /// The broker did not answer in time.
    #[error("the broker did not answer in time: {0}")]
    NoAnswer(&'static str),
    /// The connection is gone.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The broker cancelled the consumer: its queue was deleted, or it held a message for too long.
    #[error("the broker cancelled the consumer of {0}")]
    Cancelled(&'static str),
    /// A dead letter was not taken by the broker, so its original may not be acknowledged.
    #[error("the broker did not take the dead letters of {0}")]
    DeadLettersRefused(&'static str),
}

impl From<lapin::Error> for SessionError {
    fn from(error: lapin::Error) -> Self {
        Self::Broken(error)
    }
}

impl Session {
    /// Connects, to consume and to publish, under a name that the broker's management page shows.
    ///
    /// # Errors
    /// The broker cannot be reached, refuses the user, or does not answer within 5 s.
    pub async fn open(broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        Self::with_frames_of(FRAME, broker, name).await
    }

    /// As [`Session::open`], to publish only: it does with a small part of the memory.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn open_publisher(broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        Self::with_frames_of(SMALL_FRAME, broker, name).await
    }

    async fn with_frames_of(bytes: u32, broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        let unreachable = |reason| SessionError::Unreachable { broker: broker.to_string(), reason };
        // The client's own recovery stays off: a half-recovered session would be a third state.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = answered("connect", Connection::connect_uri(broker.uri(bytes), properties))
            .await
            .map_err(|error| match error {
                SessionError::Broken(reason) => unreachable(reason),
                other => other,
            })?;
        let channel = answered("open a channel", connection.create_channel()).await?;
        answered("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, broken: AtomicBool::new(false) })
    }

    /// Returns once the connection or the channel is no more.
    pub async fn wait_closed(&self) {
        while self.is_open() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Says goodbye, so that the broker gives what is unsettled to others at once.
    pub async fn close(&self) {
        if self.is_open() {
            let _ = answered("close", self.connection.close(200, "going away".into())).await;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
            && self.connection.status().connected()
            && self.channel.status().connected()
    }

    /// Ends a session that has failed its user, though its connection may look alive.
    pub(crate) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether the broker asked publishers to wait: its memory or disk alarm.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }
}

/// Awaits the broker, but not for ever: a dead connection can leave an answer pending.
pub(crate) async fn answered<T>(
    what: &'static str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, SessionError> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SessionError::NoAnswer(what)),
    }
}
