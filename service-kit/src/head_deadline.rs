//! A connection whose client must complete the head of a request in time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// The requests of one connection, as counted by its service.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicU64,
    is_running: AtomicBool,
}

impl Requests {
    /// Notes that a head is complete.
    pub(crate) fn begin(&self) {
        self.is_running.store(true, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the response begins.
    pub(crate) fn end(&self) {
        self.is_running.store(false, Ordering::Relaxed);
    }
}

/// A stream that fails if a head is not complete within a time after its first byte. The first head begins with
/// the connection.
///
/// hyper's own limit cannot distinguish a slow head from an unused connection, which may stay open longer.
#[derive(Debug)]
pub(crate) struct HeadDeadline<S> {
    stream: S,
    limit: Duration,
    requests: Arc<Requests>,
    /// The number of requests when the deadline was set.
    begun: u64,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> HeadDeadline<S> {
    pub(crate) fn new(stream: S, limit: Duration, requests: Arc<Requests>) -> Self {
        let deadline = Some(Instant::now() + limit);
        Self { stream, limit, requests, begun: 0, deadline, timer: None }
    }

    /// Removes the deadline of a head that is complete.
    fn update(&mut self) {
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.deadline = None;
            self.timer = None;
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.update();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.poll_deadline(context),
            Poll::Ready(result) => {
                let is_first_byte = this.deadline.is_none()
                    && buffer.filled().len() > before
                    && !this.requests.is_running.load(Ordering::Relaxed);
                if is_first_byte {
                    this.deadline = Some(Instant::now() + this.limit);
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, sync::Arc, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::{HeadDeadline, Requests};

    const LIMIT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn head_without_end_fails_and_unused_connection_does_not() {
        let (mut client, server) = duplex(64);
        let requests = Arc::new(Requests::default());
        let mut server = HeadDeadline::new(server, LIMIT, Arc::clone(&requests));
        let mut buffer = [0; 64];

        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 18);
        requests.begin();
        requests.end();
        assert!(timeout(LIMIT * 4, server.read(&mut buffer)).await.is_err(), "no head, so no deadline");

        client.write_all(b"GET").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 3);
        let slow = timeout(LONG, server.read(&mut buffer)).await.unwrap();
        assert_eq!(slow.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn connection_without_request_fails() {
        let (_client, server) = duplex(64);
        let mut server = HeadDeadline::new(server, LIMIT, Arc::default());
        let silent = timeout(LONG, server.read(&mut [0; 64])).await.unwrap();
        assert_eq!(silent.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn running_request_has_no_deadline() {
        let (mut client, server) = duplex(64);
        let requests = Arc::new(Requests::default());
        let mut server = HeadDeadline::new(server, LIMIT, Arc::clone(&requests));
        requests.begin();
        client.write_all(b"body").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        assert!(timeout(LIMIT * 4, server.read(&mut buffer)).await.is_err());
    }
}
