//! Reading queues of letters, by one console at a time.

use std::time::Duration;

use anyhow::{Context, ensure};
use messaging::{BrokerUrl, HeldQueue, Incoming, Session};
use tokio::time::{Instant, sleep};

/// A reader holds all letters of a queue, so another one would see a part of them. The limit is longer than a round of
/// an operation, which holds them for a minute at most.
const LOCK_TIMEOUT: Duration = Duration::from_mins(2);

/// The time in which the broker removes the consumer of a console that was killed, and puts its letters back. The lock may
/// be free before. After this time, the consumer is one of another application, and its letters stay invisible.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Holds the letters of a queue until no other console reads it. Returns `None` if the queue does not exist.
///
/// # Errors
/// Returns an error if the broker cannot be read, or if another console reads the queue for minutes.
pub async fn hold(broker: &BrokerUrl, queue: &str) -> anyhow::Result<Option<HeldQueue>> {
    let hold = async {
        let session = Session::open(broker, "console").await?;
        lock(&session, queue).await?;
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        while session.queue_state(queue).await?.is_some_and(|state| state.consumers > 0)
            && Instant::now() < deadline
        {
            sleep(POLL_INTERVAL).await;
        }
        anyhow::Ok(session.hold(queue).await?)
    };
    hold.await.with_context(|| format!("{queue} cannot be read"))
}

/// Waits until no other console uses a queue or a stream, and locks it until the session closes.
///
/// # Errors
/// Returns an error if the session broke, or if another console uses it for minutes.
pub async fn lock(session: &Session, queue: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    while !session.lock(&format!("console.lock.{queue}")).await? {
        ensure!(Instant::now() < deadline, "another console uses it; try again later");
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Passes every letter of a queue to `visit`, and puts all of them back in their order. A queue that does not exist
/// counts as empty.
///
/// # Errors
/// Returns the errors of [`hold`].
pub async fn peek(broker: &BrokerUrl, queue: &str, mut visit: impl FnMut(&Incoming)) -> anyhow::Result<()> {
    let Some(mut held) = hold(broker, queue).await? else { return Ok(()) };
    let read = async {
        while let Some(letter) = held.next().await? {
            visit(&letter);
        }
        held.release().await
    };
    read.await.with_context(|| format!("{queue} cannot be read"))
}
