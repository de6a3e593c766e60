//! The threads of the load and of the servers' minimal clients.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread per CPU.
///
/// The main thread starts all child processes, which must not outlive it. It only waits meanwhile.
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime =
            Builder::new_multi_thread().enable_all().build().context("cannot start threads for the load")?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a future to completion on these threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let runtime = self.0.as_ref().expect("the runtime exists until the drop");
        runtime.spawn(work).await.context("the load panicked")?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // An ordinary drop would wait for the threads, which is not allowed within another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
