//! The state that all connections of a proxy share.

use std::{
    future::pending,
    sync::{Mutex, MutexGuard, atomic::AtomicU16},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    frames::Protocol,
    traffic::{Direction, Traffic},
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server_port: AtomicU16,
    pub(super) protocol: Protocol,
    pub(super) link: watch::Sender<LinkState>,
    /// A connection that is idle for longer is forgotten: it stays open, and its bytes vanish.
    pub(super) idle_limit: watch::Sender<Option<Duration>>,
    upstream: Lane,
    downstream: Lane,
}

/// The fate of connections. The counter makes a cut visible even if the link is restored immediately.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkState {
    pub(super) mode: Mode,
    pub(super) cuts: u64,
}

/// The fate of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Forwarded,
    Closed,
    /// The connection stays open, and no byte passes.
    Silent,
}

/// One direction of a link, over all its connections.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) traffic: watch::Sender<Traffic>,
    count: Mutex<FrameCount>,
}

/// The number of frames that have begun to pass, and the number at which the link stops.
#[derive(Debug, Default)]
pub(super) struct FrameCount {
    pub(super) passed: u64,
    pub(super) breakpoint: Option<Breakpoint>,
}

/// Stops the link when `position` frames have passed.
#[derive(Debug)]
pub(super) struct Breakpoint {
    pub(super) position: u64,
    pub(super) reached: oneshot::Sender<()>,
}

/// The time of the latest byte on one connection, in either direction.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Instant>);

impl Shared {
    pub(super) fn new(server_port: u16, protocol: Protocol) -> Self {
        Self {
            server_port: AtomicU16::new(server_port),
            protocol,
            link: watch::Sender::new(LinkState { mode: Mode::Forwarded, cuts: 0 }),
            idle_limit: watch::Sender::new(None),
            upstream: Lane::new(),
            downstream: Lane::new(),
        }
    }

    pub(super) fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Upstream => &self.upstream,
            Direction::Downstream => &self.downstream,
        }
    }

    pub(super) fn freeze(&self) {
        for direction in Direction::ALL {
            self.lane(direction).traffic.send_replace(Traffic::Frozen);
        }
    }

    /// Closes all connections, and determines the fate of new ones.
    pub(super) fn close_connections(&self, mode: Mode) {
        self.link.send_modify(|link| *link = LinkState { mode, cuts: link.cuts + 1 });
    }

    /// Waits until a connection has been idle for longer than the limit.
    pub(super) async fn wait_until_forgotten(&self, activity: &Activity) {
        let mut limit = self.idle_limit.subscribe();
        loop {
            let current = *limit.borrow_and_update();
            let Some(current) = current else {
                if limit.changed().await.is_err() {
                    pending::<()>().await;
                }
                continue;
            };
            let due = activity.latest() + current;
            if due <= Instant::now() {
                return;
            }
            // The limit may change, and the connection may be used, until then.
            let _ = timeout_at(due, limit.changed()).await;
        }
    }
}

impl Lane {
    fn new() -> Self {
        Self { traffic: watch::Sender::new(Traffic::Open), count: Mutex::default() }
    }

    pub(super) fn count(&self) -> MutexGuard<'_, FrameCount> {
        self.count.lock().expect("no thread panics while it holds this lock")
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Notes that bytes pass now.
    pub(super) fn note(&self) {
        *self.0.lock().expect("no thread panics while it holds this lock") = Instant::now();
    }

    fn latest(&self) -> Instant {
        *self.0.lock().expect("no thread panics while it holds this lock")
    }
}
