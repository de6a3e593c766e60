//! Forwards the bytes of one direction of one connection, frame by frame.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

use super::{
    frames::FrameSplitter,
    shared::{Activity, Shared},
    traffic::{Direction, Traffic},
};

/// Forwards bytes until one side closes its connection.
pub(super) async fn run(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    direction: Direction,
    activity: &Activity,
) -> io::Result<()> {
    let mut frames = FrameSplitter::new(shared.protocol, direction);
    let mut traffic = shared.lane(direction).traffic.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        activity.note();
        let mut unsent = &buffer[..length];
        while !unsent.is_empty() {
            let (piece, later) = unsent.split_at(next_piece(shared, direction, &mut frames, unsent));
            wait_for_permission(&mut traffic, piece.len()).await;
            to.write_all(piece).await?;
            unsent = later;
        }
    }
}

/// Returns how many of the bytes may pass next: all, or those before the frame with the breakpoint.
///
/// If the very next frame has the breakpoint, the link is frozen when this function returns.
fn next_piece(shared: &Shared, direction: Direction, frames: &mut FrameSplitter, bytes: &[u8]) -> usize {
    let mut count = shared.lane(direction).count();
    let mut length = 0;
    while length < bytes.len() {
        if frames.begins_frame(bytes[length]) {
            if count.breakpoint.as_ref().is_some_and(|breakpoint| breakpoint.position == count.passed) {
                if length > 0 {
                    break;
                }
                shared.freeze();
                if let Some(breakpoint) = count.breakpoint.take() {
                    // The receiver may have been dropped.
                    let _ = breakpoint.reached.send(());
                }
            }
            count.passed += 1;
        }
        length += frames.take(&bytes[length..]);
    }
    length
}

/// Waits until a piece of this length may pass.
async fn wait_for_permission(traffic: &mut watch::Receiver<Traffic>, length: usize) {
    loop {
        let current = *traffic.borrow_and_update();
        match current {
            Traffic::Open => return,
            Traffic::Delayed(delay) => return sleep(delay).await,
            Traffic::Throttled(bytes_per_second) => {
                let bytes = u32::try_from(length).unwrap_or(u32::MAX);
                return sleep(Duration::from_secs_f64(f64::from(bytes) / f64::from(bytes_per_second))).await;
            }
            Traffic::Frozen => {
                if traffic.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
