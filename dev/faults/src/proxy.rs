//! A TCP proxy between a service and a server. It counts frames, stops before any of them, and can fail.

mod frames;
mod pump;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub use frames::Protocol;
use pump::{Breakpoint, Lane};

/// The direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the server.
    Upstream,
    /// From the server to the service.
    Downstream,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Downstream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Traffic {
    /// Without a delay.
    Open,
    /// Not at all, although the connection stays open. A link that is frozen in one direction is half open.
    Frozen,
    /// Each piece after this delay.
    Delayed(Duration),
    /// At this rate, in bytes per second.
    Throttled(u32),
}

/// Forwards TCP connections to a port of this machine. Dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// The state that all connections of a proxy share.
#[derive(Debug)]
struct Shared {
    server_port: u16,
    protocol: Protocol,
    link: watch::Sender<LinkState>,
    upstream: Lane,
    downstream: Lane,
}

/// Whether connections may exist. The counter makes a cut visible even if the link is restored immediately.
#[derive(Debug, Clone, Copy)]
struct LinkState {
    connected: bool,
    cuts: u64,
}

impl Proxy {
    /// Starts a proxy for a local port on which a server speaks `protocol` without encryption.
    ///
    /// # Errors
    /// Returns an error if no port is free.
    pub async fn to(server_port: u16, protocol: Protocol) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen for a proxy")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server_port,
            protocol,
            link: watch::Sender::new(LinkState { connected: true, cuts: 0 }),
            upstream: Lane::new(),
            downstream: Lane::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Returns the port to which the service connects.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes all connections, and each new one directly after its start.
    pub fn cut(&self) {
        self.shared.link.send_modify(|link| *link = LinkState { connected: false, cuts: link.cuts + 1 });
    }

    /// Lets connections pass again, in both directions and without limits.
    pub fn restore(&self) {
        for direction in Direction::ALL {
            self.shared.lane(direction).count().breakpoint = None;
            self.set_traffic(direction, Traffic::Open);
        }
        self.shared.link.send_modify(|link| link.connected = true);
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

impl Shared {
    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Upstream => &self.upstream,
            Direction::Downstream => &self.downstream,
        }
    }

    fn freeze(&self) {
        for direction in Direction::ALL {
            self.lane(direction).traffic.send_replace(Traffic::Frozen);
        }
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
        let LinkState { connected, cuts } = *link.borrow_and_update();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = link.wait_for(|link| !connected || link.cuts != cuts) => {}
                () = forward(service, &shared) => {}
            }
        });
    }
}

/// Connects to the server, and forwards bytes until one side closes its connection.
async fn forward(service: TcpStream, shared: &Shared) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.server_port)).await else { return };
    let _ = (service.set_nodelay(true), server.set_nodelay(true));
    let (from_service, to_service) = service.into_split();
    let (from_server, to_server) = server.into_split();
    // When one side closes its connection, the end of this function closes both.
    tokio::select! {
        _ = pump::run(from_service, to_server, shared, Direction::Upstream) => {}
        _ = pump::run(from_server, to_service, shared, Direction::Downstream) => {}
    }
}

#[cfg(test)]
mod tests;
