//! Support for tests of the whole system: a site of their own on real servers, and deadlines.
//!
//! Run them as `stack servers -- cargo test`, which `script/test` does.

pub mod broker_client;
pub mod customers;
mod databases;
mod environment;
mod management;
pub mod operator;
pub mod programs;
mod reconciliation;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use environment::TestEnvironment;
pub use management::{Management, Message, Queue};
pub use reconciliation::reconciliation_sources;

/// Long enough for everything that should come at once, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer, and returns it.
pub async fn eventually<T>(deadline: Duration, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let give_up = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up, "not within {deadline:?}: {what}");
        sleep(Duration::from_millis(25)).await;
    }
}
