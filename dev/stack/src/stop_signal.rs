//! The signals that ask this program to stop.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal was closed).
#[derive(Debug)]
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl StopSignal {
    /// Installs the handlers. After this call, none of these signals ends the program by itself.
    ///
    /// # Errors
    /// Returns an error if a handler cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hang_up.recv() => (),
        }
    }
}
