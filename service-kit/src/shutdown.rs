//! The shutdown of a service by a signal, in two steps: it drains, and then it ends.

use std::{future::pending, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The two steps of a shutdown. Clones share them.
///
/// While a service drains, it does its work as before. It only reports that it is not ready, and each response
/// closes its connection. So load balancers and clients leave before the listener closes.
#[derive(Debug, Clone)]
pub struct Shutdown {
    draining: CancellationToken,
    end: CancellationToken,
}

impl Shutdown {
    /// Returns the token that is canceled when the service must finish its work in flight and end.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Returns a shutdown without draining that begins when the token is canceled.
    pub(crate) fn without_draining(end: &CancellationToken) -> Self {
        Self { draining: end.clone(), end: end.clone() }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the service must end.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }

    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    pub(crate) fn end(&self) {
        self.draining.cancel();
        self.end.cancel();
    }
}

/// Returns a shutdown that the first SIGTERM or SIGINT begins. The service drains for `delay` before it ends. The
/// second signal ends the process immediately.
///
/// # Errors
/// Returns an error if the signal handlers cannot be installed.
pub fn shutdown_on_signal(delay: Duration) -> anyhow::Result<Shutdown> {
    let mut signals = Signals::listen()?;
    let shutdown = Shutdown { draining: CancellationToken::new(), end: CancellationToken::new() };
    let signaled = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        let end = async {
            if !delay.is_zero() {
                tracing::info!(
                    seconds = delay.as_secs(),
                    "draining: not ready, but requests are still served"
                );
                signaled.drain();
                sleep(delay).await;
            }
            tracing::info!("shutting down: finishing the work in flight");
            signaled.end();
            pending::<()>().await;
        };
        tokio::select! {
            () = end => {}
            () = signals.next() => {}
        }
        std::process::exit(1);
    });
    Ok(shutdown)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
impl Default for Shutdown {
    /// Returns a shutdown that no signal begins.
    fn default() -> Self {
        Self { draining: CancellationToken::new(), end: CancellationToken::new() }
    }
}
