#![doc = include_str!("../README.md")]

pub mod broker_client;
pub mod customers;
mod databases;
mod environment;
pub mod load;
mod management;
pub mod metrics;
pub mod operator;
pub mod programs;
pub mod prometheus;
mod sources;

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

pub use environment::TestEnvironment;
pub use management::{Management, Message, Queue};
pub use sources::reconciliation_sources;

/// A deadline for everything that normally takes less than a second, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Settings of services that request no replay for a new queue: it would repair losses, and add copies to numbers.
pub const NO_REPLAY: &[(&str, &str)] =
    &[("TRANSFORMER_REPLAY_ON_NEW_QUEUE", "false"), ("MARKETING_REPLAY_ON_NEW_QUEUE", "false")];

/// Polls until `poll` returns a value, and returns that value.
///
/// # Errors
/// Returns an error that names the condition if `deadline` passes first.
pub async fn eventually<T>(
    deadline: Duration,
    condition: &str,
    poll: impl AsyncFn() -> Option<T>,
) -> anyhow::Result<T> {
    let give_up = Instant::now() + deadline;
    loop {
        if let Some(value) = poll().await {
            return Ok(value);
        }
        ensure!(Instant::now() < give_up, "not within {deadline:?}: {condition}");
        sleep(Duration::from_millis(25)).await;
    }
}
