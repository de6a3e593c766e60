//! A link between a service and a server that counts what passes, stops at any message, and fails on demand.

mod messages;
mod pump;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use messages::Protocol;
use pump::{Breakpoint, Lane};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the service to its server.
    ToServer,
    /// From the server to the service.
    ToService,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ToServer, Self::ToService];
}

/// How bytes pass in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// At once.
    Open,
    /// Not at all, though the connection stays. In one direction only, it is half open.
    Frozen,
    /// Each piece so much later.
    Delayed(Duration),
    /// So many bytes a second.
    Throttled(u32),
}

/// Passes TCP connections on to a port of this machine. Dropped, it is gone with all of them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    accepting: JoinHandle<()>,
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Link {
    port: u16,
    protocol: Protocol,
    state: watch::Sender<State>,
    to_server: Lane,
    to_service: Lane,
}

/// Whether connections stand. The cuts are counted, so that none is missed that is healed at once.
#[derive(Clone, Copy, Debug)]
struct State {
    whole: bool,
    cuts: u64,
}

impl Proxy {
    /// A whole link to a port of this machine, where a server speaks `protocol` in plain text.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn to(port: u16, protocol: Protocol) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a link")?;
        let address = listener.local_addr()?;
        let (to_server, to_service) = (Lane::new(), Lane::new());
        let state = watch::Sender::new(State { whole: true, cuts: 0 });
        let link = Arc::new(Link { port, protocol, state, to_server, to_service });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&link)));
        Ok(Self { address, link, accepting })
    }

    /// The port of its near end.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections, and every new one at once.
    pub fn cut(&self) {
        self.link.state.send_modify(|state| *state = State { whole: false, cuts: state.cuts + 1 });
    }

    /// Lets connections through again, freely and in both directions.
    pub fn heal(&self) {
        for direction in Direction::ALL {
            self.link.lane(direction).count().breakpoint = None;
            self.set_flow(direction, Flow::Open);
        }
        self.link.state.send_modify(|state| state.whole = true);
    }

    /// Changes how bytes pass in one direction.
    pub fn set_flow(&self, direction: Direction, flow: Flow) {
        self.link.lane(direction).flow.send_replace(flow);
    }

    /// How many messages have begun to pass in a direction, over all connections. AMQP's heartbeats do
    /// not count: they come by the clock.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.link.lane(direction).count().passed
    }

    /// Stops the link before the `nth` message from now, counted from 1, and says when it has: from then
    /// on nothing passes in either direction until it is cut or healed.
    #[must_use]
    pub fn stop_before(&self, direction: Direction, nth: u64) -> oneshot::Receiver<()> {
        let mut count = self.link.lane(direction).count();
        let (reached, told) = oneshot::channel();
        count.breakpoint = Some(Breakpoint { at: count.passed + nth - 1, reached });
        told
    }
}

impl Link {
    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToService => &self.to_service,
        }
    }

    fn freeze(&self) {
        for direction in Direction::ALL {
            self.lane(direction).flow.send_replace(Flow::Frozen);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    while let Ok((near, _)) = listener.accept().await {
        let mut state = link.state.subscribe();
        let State { whole, cuts } = *state.borrow_and_update();
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = state.wait_for(|state| !whole || state.cuts != cuts) => {}
                () = connect(near, &link) => {}
            }
        });
    }
}

async fn connect(near: TcpStream, link: &Link) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", link.port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    // When one side leaves, the other is told by the end of both.
    tokio::select! {
        _ = pump::run(near_read, far_write, link, Direction::ToServer) => {}
        _ = pump::run(far_read, near_write, link, Direction::ToService) => {}
    }
}

#[cfg(test)]
mod tests;
