//! Threads for the load and for the servers' own clients.

use std::future::Future;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// As many threads as the machine has CPUs. The main thread, whose children must not outlive it, only waits.
pub(super) struct Workers(Option<Runtime>);

impl Workers {
    pub(super) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build().context("threads for the load")?;
        Ok(Self(Some(runtime)))
    }

    /// Runs something on these threads, to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(work).await.context("the load ended by a panic")?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Waiting for it would block the runtime that drops this.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
