//! Calls a function at a constant rate, with pauses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// The limit of simultaneous calls. A slow system therefore reduces the rate.
const MAX_IN_FLIGHT: u32 = 256;

/// A running sequence of calls. Dropping it ends the sequence.
pub(crate) struct Pace {
    paused: Arc<AtomicBool>,
    in_flight: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Pace {
    /// Starts `rate` calls per second. The argument of a call is its number.
    pub(crate) fn start<F>(rate: u32, call: impl Fn(usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let paused = Arc::new(AtomicBool::new(false));
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        let task = tokio::spawn({
            let (paused, in_flight) = (Arc::clone(&paused), Arc::clone(&in_flight));
            async move {
                let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for n in 0.. {
                    ticks.tick().await;
                    if paused.load(Ordering::SeqCst) {
                        continue;
                    }
                    let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
                    let call = call(n);
                    tokio::spawn(async move {
                        call.await;
                        drop(permit);
                    });
                }
            }
        });
        Self { paused, in_flight, task }
    }

    /// Stops the calls, and waits until all have returned.
    pub(crate) async fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        drop(self.in_flight.acquire_many(MAX_IN_FLIGHT).await);
    }

    /// Continues after [`Pace::pause`].
    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.task.abort();
    }
}
