//! The byte stream between the broker and the client library.
//!
//! The client library runs each connection on a thread of its own. This transport gives the session control over
//! that thread:
//!
//! - The session connects first, within its own deadline, so the thread never waits for a connection.
//! - Dropping the [`TransportControl`] ends all reads and writes, and thereby the thread and the socket.
//! - [`FrameFilter`] repairs frames that the client library cannot parse. With TLS, it reads the decrypted stream.
//! - A consumer limits the bytes that it holds: the transport stops reading while the limit is exceeded.

use std::{
    future, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_rs::{Runtime, Tokio, TokioRuntime, traits::Reactor, util::RuntimeParts};
use futures_util::{AsyncRead, AsyncWrite, Stream, task::AtomicWaker};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, tcp::AMQPUriTcpExt, uri::AMQPUri};
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use crate::{frame_filter::FrameFilter, tls_files::TlsFiles};

/// Bytes that are read at a time.
const CHUNK: usize = 16 * 1024;

/// A heartbeat frame on channel 0. AMQP 0-9-1, section 4.2.7.
const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0xce];

/// While the transport does not read, it passes heartbeats to the client library in this interval. Without them
/// the library would close the connection after two heartbeat intervals of 5 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Connects to a broker, with TLS if the URI requires it, and lets the client library speak AMQP over the transport.
///
/// # Errors
/// Returns an error if a file for TLS cannot be read, or if the broker is unreachable or refuses the session.
pub(crate) async fn connect(
    uri: AMQPUri,
    tls: &TlsFiles,
    properties: ConnectionProperties,
) -> lapin::Result<(Connection, TransportControl)> {
    let runtime = TokioRuntime::tokio_current();
    let config = tls.read()?;
    let socket = uri.connect_with_config_async(config.as_ref(), &runtime).await?;
    let flow = Arc::new(FlowControl::default());
    let frame_max = uri.query.frame_max.unwrap_or_default();
    let transport = Transport::new(socket, frame_max, Arc::clone(&flow));
    // The library retries a failed connection. The second attempt finds no transport and ends its thread.
    let transport = Mutex::new(Some(transport));
    let kit = RuntimeParts::new(Tokio::current(), TransportReactor(Tokio::current()));
    let control = TransportControl { flow };
    let connect = async move |_, _: Runtime<TransportRuntime>| {
        let transport = transport.lock().unwrap_or_else(PoisonError::into_inner).take();
        transport
            .map(AsyncTcpStream::Plain)
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
    };
    let connection = Connection::connector(uri, Runtime::new(kit), connect, properties).await?;
    Ok((connection, control))
}

/// The session's side of a transport. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct TransportControl {
    flow: Arc<FlowControl>,
}

impl TransportControl {
    /// Returns the numbers of messages since the connection was opened.
    pub(crate) fn counts(&self) -> &MessageCounts {
        &self.flow.counts
    }

    /// Returns the major version of the broker, or 0 if it is not known.
    pub(crate) fn broker_version(&self) -> u32 {
        self.flow.broker_version.load(Ordering::Relaxed)
    }

    /// Stops reading while the received message bodies exceed the settled ones by more than `bytes`.
    pub(crate) fn limit_unsettled(&self, bytes: u64) {
        self.flow.limit.store(bytes, Ordering::Relaxed);
    }

    /// Adds messages that the consumer no longer holds, and the bytes of their bodies.
    pub(crate) fn settled(&self, messages: u64, bytes: u64) {
        self.flow.counts.add_settled(messages);
        self.flow.settled.fetch_add(bytes, Ordering::Release);
        self.flow.reader.wake();
    }
}

/// The messages of one connection since it was opened.
#[derive(Debug, Default)]
pub(crate) struct MessageCounts {
    received: AtomicU64,
    settled: AtomicU64,
}

impl MessageCounts {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// Stores the number of all received messages.
    pub(crate) fn set_received(&self, messages: u64) {
        self.received.store(messages, Ordering::Release);
    }

    pub(crate) fn add_settled(&self, messages: u64) {
        self.settled.fetch_add(messages, Ordering::Release);
    }
}

impl Drop for TransportControl {
    fn drop(&mut self) {
        self.flow.closed.store(true, Ordering::Release);
        self.flow.reader.wake();
        self.flow.writer.wake();
    }
}

/// The messages that a consumer holds, the bytes of their bodies, and whether the session has dropped its control.
#[derive(Debug)]
struct FlowControl {
    limit: AtomicU64,
    settled: AtomicU64,
    closed: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    counts: MessageCounts,
    broker_version: AtomicU32,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(u64::MAX),
            settled: AtomicU64::default(),
            closed: AtomicBool::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            counts: MessageCounts::default(),
            broker_version: AtomicU32::default(),
        }
    }
}

impl FlowControl {
    fn is_exceeded(&self, received: u64) -> bool {
        let held = received.saturating_sub(self.settled.load(Ordering::Acquire));
        held > self.limit.load(Ordering::Relaxed)
    }

    /// Returns an error if the session has dropped its control.
    fn check_open(&self) -> io::Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

/// A socket whose input passes the filter.
struct Transport {
    socket: Socket,
    filter: FrameFilter,
    /// The bytes from `input_start` to `input_end` were read and have not passed the filter.
    input: Box<[u8]>,
    input_start: usize,
    input_end: usize,
    /// Bytes that have passed the filter.
    output: Vec<u8>,
    output_start: usize,
    flow: Arc<FlowControl>,
    runtime: Handle,
    /// Runs while the transport does not read.
    heartbeat: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    fn new(socket: Socket, frame_max: u32, flow: Arc<FlowControl>) -> Self {
        Self {
            socket,
            filter: FrameFilter::new(frame_max),
            input: vec![0; CHUNK].into(),
            input_start: 0,
            input_end: 0,
            output: Vec::with_capacity(CHUNK),
            output_start: 0,
            flow,
            runtime: Handle::current(),
            heartbeat: None,
        }
    }

    /// Fills the output with at least one byte. Leaves it empty at the end of the stream.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.is_empty() {
            if self.filter.at_boundary() && self.flow.is_exceeded(self.filter.received()) {
                ready!(self.poll_heartbeat(context));
                return Poll::Ready(Ok(()));
            }
            self.heartbeat = None;
            if self.input_start == self.input_end {
                let length = ready!(Pin::new(&mut self.socket).poll_read(context, &mut self.input))?;
                (self.input_start, self.input_end) = (0, length);
                if length == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            let flow = &self.flow;
            let stop = |received| flow.is_exceeded(received);
            let input = &self.input[self.input_start..self.input_end];
            self.input_start += self.filter.filter(input, &mut self.output, stop);
            flow.counts.set_received(self.filter.messages());
            flow.broker_version.store(self.filter.broker_version(), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the heartbeat interval, and then fills the output with a heartbeat.
    fn poll_heartbeat(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let runtime = &self.runtime;
        let timer = self.heartbeat.get_or_insert_with(|| {
            let _context = runtime.enter();
            Box::pin(sleep(HEARTBEAT_INTERVAL))
        });
        ready!(timer.as_mut().poll(context));
        self.heartbeat = None;
        self.output.extend_from_slice(&HEARTBEAT);
        Poll::Ready(())
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        // Before the checks: the consumer may settle messages, or drop its control, at any moment.
        transport.flow.reader.register(context.waker());
        transport.flow.check_open()?;
        ready!(transport.poll_fill(context))?;
        let output = &transport.output[transport.output_start..];
        let length = output.len().min(buffer.len());
        buffer[..length].copy_from_slice(&output[..length]);
        transport.output_start += length;
        if transport.output_start == transport.output.len() {
            transport.output.clear();
            transport.output_start = 0;
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        transport.flow.writer.register(context.waker());
        transport.flow.check_open()?;
        Pin::new(&mut transport.socket).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let transport = self.get_mut();
        transport.flow.writer.register(context.waker());
        transport.flow.check_open()?;
        Pin::new(&mut transport.socket).poll_write_vectored(context, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = self.get_mut();
        transport.flow.writer.register(context.waker());
        transport.flow.check_open()?;
        Pin::new(&mut transport.socket).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(context)
    }
}

type TransportRuntime = RuntimeParts<Tokio, TransportReactor>;

/// Tokio's reactor, except that the type of its streams is [`Transport`].
#[derive(Debug, Clone)]
struct TransportReactor(Tokio);

impl Reactor for TransportReactor {
    type TcpStream = Transport;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Returns an error: the client library registers no sockets of its own.
    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Transport, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = std::time::Instant> + Send + 'static {
        self.0.interval(duration)
    }

    /// Returns an error: [`connect`] connects, and passes the transport to the client library.
    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Transport>> + Send + 'static {
        future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
