//! A TCP proxy between a service and a server. It counts frames, stops before any of them, and can fail.

mod frames;
mod pump;
mod shared;
mod traffic;

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncRead, copy, sink},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub use frames::Protocol;
use shared::{Activity, Breakpoint, LinkState, Mode, Shared};
pub use traffic::{Direction, Traffic};

/// Forwards TCP connections to a port of this machine. Dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for a local port on which a server speaks `protocol` without encryption.
    ///
    /// # Errors
    /// Returns an error if no port is free.
    pub async fn to(server_port: u16, protocol: Protocol) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen for a proxy")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(server_port, protocol));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Returns the port to which the service connects.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes all connections, and forwards new ones to another port, as an address that moves to another server.
    pub fn redirect(&self, server_port: u16) {
        self.shared.server_port.store(server_port, Ordering::SeqCst);
        self.shared.close_connections(Mode::Forwarded);
    }

    /// Closes all connections, and each new one directly after its start.
    pub fn cut(&self) {
        self.shared.close_connections(Mode::Closed);
    }

    /// Closes all connections. New ones stay open, and no byte passes on them, not even after [`Proxy::restore`].
    pub fn silence(&self) {
        self.shared.close_connections(Mode::Silent);
    }

    /// Forgets each connection that is idle for longer than `limit`, as a NAT does.
    ///
    /// The connection stays open on both sides, but its bytes vanish, even after [`Proxy::restore`].
    pub fn forget_idle(&self, limit: Duration) {
        self.shared.idle_limit.send_replace(Some(limit));
    }

    /// Lets connections pass again, in both directions and without limits.
    pub fn restore(&self) {
        for direction in Direction::ALL {
            self.shared.lane(direction).count().breakpoint = None;
            self.set_traffic(direction, Traffic::Open);
        }
        self.shared.idle_limit.send_replace(None);
        self.shared.link.send_modify(|link| link.mode = Mode::Forwarded);
    }

    /// Changes how bytes pass in one direction.
    pub fn set_traffic(&self, direction: Direction, traffic: Traffic) {
        self.shared.lane(direction).traffic.send_replace(traffic);
    }

    /// Returns the number of frames that have begun to pass in a direction, over all connections.
    ///
    /// AMQP's heartbeats do not count, because they depend on the time.
    #[must_use]
    pub fn frames_passed(&self, direction: Direction) -> u64 {
        self.shared.lane(direction).count().passed
    }

    /// Stops the link before the `nth` frame from now, counted from 1.
    ///
    /// The receiver resolves when the link has stopped. From then on, nothing passes in either direction until
    /// the link is cut or restored.
    #[must_use]
    pub fn stop_before(&self, direction: Direction, nth: u64) -> oneshot::Receiver<()> {
        let mut count = self.shared.lane(direction).count();
        let (reached, stopped) = oneshot::channel();
        count.breakpoint = Some(Breakpoint { position: count.passed + nth - 1, reached });
        stopped
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((service, _)) = listener.accept().await {
        let mut link = shared.link.subscribe();
        let LinkState { mode, cuts } = *link.borrow_and_update();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let serve = async {
                match mode {
                    Mode::Forwarded => forward(service, &shared).await,
                    Mode::Closed => {}
                    Mode::Silent => discard(service).await,
                }
            };
            tokio::select! {
                biased;
                _ = link.wait_for(|link| link.cuts != cuts) => {}
                () = serve => {}
            }
        });
    }
}

/// Connects to the server, and forwards bytes until one side closes its connection.
async fn forward(service: TcpStream, shared: &Shared) {
    let server_port = shared.server_port.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { return };
    let _ = (service.set_nodelay(true), server.set_nodelay(true));
    let (mut from_service, mut to_service) = service.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let activity = Activity::new();
    // When one side closes its connection, the end of this function closes both.
    tokio::select! {
        _ = pump::run(&mut from_service, &mut to_server, shared, Direction::Upstream, &activity) => return,
        _ = pump::run(&mut from_server, &mut to_service, shared, Direction::Downstream, &activity) => return,
        () = shared.wait_until_forgotten(&activity) => {}
    }
    tokio::select! {
        () = discard(from_service) => {}
        () = async { discard(from_server).await; pending().await } => {}
    }
}

/// Reads and discards bytes until the sender closes its connection.
async fn discard(mut from: impl AsyncRead + Unpin) {
    let _ = copy(&mut from, &mut sink()).await;
}

#[cfg(test)]
mod tests;
