//! Moves the bytes of one direction of one connection, message by message.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::messages::Messages;
use super::{Direction, Flow, Link};

/// One direction of a link, over all its connections.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) flow: watch::Sender<Flow>,
    pub(super) count: Mutex<Count>,
}

/// The messages that have begun to pass.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) breakpoint: Option<Breakpoint>,
}

/// Where a link is to stop: when so many messages have passed.
#[derive(Debug)]
pub(super) struct Breakpoint {
    pub(super) at: u64,
    pub(super) reached: oneshot::Sender<()>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { flow: watch::Sender::new(Flow::Open), count: Mutex::default() }
    }

    pub(super) fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().expect("nobody panics while it is held")
    }
}

/// Runs until one side leaves.
pub(super) async fn run(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: &Link,
    direction: Direction,
) -> io::Result<()> {
    let mut messages = Messages::new(link.protocol, direction);
    let mut flow = link.lane(direction).flow.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let (next, later) = rest.split_at(next_to_pass(link, direction, &mut messages, rest));
            permit(&mut flow, next.len()).await;
            to.write_all(next).await?;
            rest = later;
        }
    }
}

/// How many of the bytes may pass next: all, or up to the message before which the link is to stop. If
/// that is the very next one, the link is frozen when this returns.
fn next_to_pass(link: &Link, direction: Direction, messages: &mut Messages, bytes: &[u8]) -> usize {
    let mut count = link.lane(direction).count();
    let mut length = 0;
    while length < bytes.len() {
        if messages.begins(bytes[length]) {
            if count.breakpoint.as_ref().is_some_and(|breakpoint| breakpoint.at == count.passed) {
                if length > 0 {
                    break;
                }
                link.freeze();
                if let Some(breakpoint) = count.breakpoint.take() {
                    // Whoever asked may have lost interest.
                    let _ = breakpoint.reached.send(());
                }
            }
            count.passed += 1;
        }
        length += messages.take(&bytes[length..]);
    }
    length
}

/// Waits until so many bytes may pass.
async fn permit(flow: &mut watch::Receiver<Flow>, bytes: usize) {
    loop {
        let now = *flow.borrow_and_update();
        match now {
            Flow::Open => return,
            Flow::Delayed(by) => return sleep(by).await,
            Flow::Throttled(bytes_per_second) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                return sleep(Duration::from_secs_f64(f64::from(bytes) / f64::from(bytes_per_second))).await;
            }
            Flow::Frozen => {
                if flow.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
