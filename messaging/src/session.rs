//! A session: one connection with one channel in confirm mode. It works or fails as a whole.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lapin::{Channel, Connection, ConnectionProperties, options::ConfirmSelectOptions};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    BrokerUrl, MessagingMetrics, SessionError,
    address_order::AddressUse,
    broker_address::BrokerAddress,
    transport::{self, TransportControl},
};

/// The time that the broker has to reply before the session fails.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest frame of a consuming session, in bytes: RabbitMQ's own default.
///
/// The client has a buffer of 32 frames for each direction. If the URI sets the size, the client allocates
/// memory as the buffers fill. If the broker sets it, the client allocates all 8 MiB immediately.
const CONSUMER_FRAME_MAX: u32 = 131_072;

/// The largest frame of a publishing session, in bytes. RabbitMQ 4 requires at least this size.
///
/// One of our own messages fits into it, and longer ones take several frames. Other senders' headers must fit
/// into one frame and may exceed 8 KiB, so consumers need the larger limit.
const PUBLISHER_FRAME_MAX: u32 = 8_192;

/// The minimum age of a channel that is replaced, so that a queue that refuses each message costs little.
const MIN_CHANNEL_AGE: Duration = Duration::from_secs(1);

const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A connection to the broker with its channel.
///
/// After any error it is unusable: drop it and let the supervisor open another.
pub struct Session {
    pub(crate) connection: Connection,
    current: Mutex<OpenChannel>,
    pub(crate) transport: TransportControl,
    pub(crate) broker: BrokerUrl,
    address_use: AddressUse,
    /// Whether the session has declared a queue that did not exist, so that earlier messages never reached it.
    pub(crate) created_queue: AtomicBool,
    broken: AtomicBool,
    pub(crate) metrics: Option<MessagingMetrics>,
}

/// A channel in confirm mode.
struct OpenChannel {
    channel: Channel,
    opened: Instant,
}

impl OpenChannel {
    async fn open(connection: &Connection) -> Result<Self, SessionError> {
        let channel = with_reply_timeout("open a channel", connection.create_channel()).await?;
        with_reply_timeout("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, opened: Instant::now() })
    }
}

impl Session {
    /// Connects to consume and to publish. The broker's management page shows `name`.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached, refuses the user, or does not reply within 5 s.
    pub async fn open(broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        Self::open_with_frame_max(CONSUMER_FRAME_MAX, broker, name).await
    }

    /// Connects to publish only. The session needs a small part of the memory of [`Session::open`].
    ///
    /// # Errors
    /// Returns the errors of [`Session::open`].
    pub async fn open_publisher(broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        Self::open_with_frame_max(PUBLISHER_FRAME_MAX, broker, name).await
    }

    async fn open_with_frame_max(bytes: u32, broker: &BrokerUrl, name: &str) -> Result<Self, SessionError> {
        let mut failures = Vec::new();
        for (address, address_use) in broker.addresses_in_turn().map_err(SessionError::UnknownUrl)? {
            // In a box, because it is large and the callers' futures contain it.
            match Box::pin(connect(bytes, &address, name)).await {
                Ok((connection, transport, channel)) => {
                    return Ok(Self {
                        connection,
                        current: Mutex::new(channel),
                        transport,
                        broker: broker.clone(),
                        address_use,
                        created_queue: AtomicBool::new(false),
                        broken: AtomicBool::new(false),
                        metrics: None,
                    });
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(SessionError::of_addresses(failures))
    }

    /// Returns the session, which counts the messages that it publishes.
    #[must_use]
    pub fn with_metrics(self, metrics: &MessagingMetrics) -> Self {
        Self { metrics: Some(metrics.clone()), ..self }
    }

    /// Waits until the connection or the channel is closed.
    pub async fn wait_closed(&self) {
        while self.is_open() {
            sleep(STATUS_POLL_INTERVAL).await;
        }
    }

    /// Closes the connection, so that the broker immediately redelivers unsettled messages to other consumers.
    ///
    /// The next session begins at the same address. After a session that ends without this call, it begins at the next
    /// address.
    pub async fn close(&self) {
        if self.is_open() {
            self.address_use.succeed();
            let _ = with_reply_timeout("close", self.connection.close(200, "going away".into())).await;
        }
    }

    /// Returns the channel that publishes and consumes.
    pub(crate) fn channel(&self) -> Channel {
        self.current().channel.clone()
    }

    /// Replaces the channel after nacks. The session must not consume, and no confirm may be pending.
    ///
    /// RabbitMQ keeps for each channel and queue whether the queue refuses messages. It does not notice when the limit
    /// of a full quorum queue is removed, so the old channel would get nacks until it closes (seen with 3.10).
    pub(crate) async fn replace_channel(&self) -> Result<(), SessionError> {
        if self.current().opened.elapsed() < MIN_CHANNEL_AGE {
            return Ok(());
        }
        let new = OpenChannel::open(&self.connection).await?;
        let old = mem::replace(&mut *self.current(), new);
        close_channel(&old.channel).await
    }

    fn current(&self) -> MutexGuard<'_, OpenChannel> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens another channel. A refused operation closes only its own channel.
    pub(crate) async fn open_channel(&self) -> Result<Channel, SessionError> {
        with_reply_timeout("open a channel", self.connection.create_channel()).await
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
            && self.connection.status().connected()
            && self.current().channel.status().connected()
    }

    /// Marks a failed session as closed, although its connection may still look open.
    pub(crate) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Returns whether the broker blocks publishers because of a memory or disk alarm.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }
}

/// Connects to one address of a broker, and opens a channel.
async fn connect(
    frame_max: u32,
    address: &BrokerAddress,
    name: &str,
) -> Result<(Connection, TransportControl, OpenChannel), SessionError> {
    // The client's own recovery stays off: a half-recovered session would be a third state.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let open = async {
        let connect = transport::connect(address.uri(frame_max), &address.tls, properties);
        let (connection, transport) = with_reply_timeout("connect", connect).await?;
        let channel = OpenChannel::open(&connection).await?;
        Ok((connection, transport, channel))
    };
    open.await.map_err(|error| SessionError::of_address(address, error))
}

/// Closes a channel of [`Session::open_channel`] after its work.
pub(crate) async fn close_channel(channel: &Channel) -> Result<(), SessionError> {
    with_reply_timeout("close a channel", channel.close(200, "done".into())).await
}

/// Waits for a reply of the broker, with a timeout: a dead connection can leave a reply pending indefinitely.
pub(crate) async fn with_reply_timeout<T>(
    operation: &'static str,
    reply: impl Future<Output = lapin::Result<T>>,
) -> Result<T, SessionError> {
    match timeout(REPLY_TIMEOUT, reply).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(SessionError::ReplyTimeout(operation)),
    }
}
