//! Registers people at a steady rate, and remembers who was told that they are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use system_tests::customers::{http_client, register_at};

/// As many visitors wait for an answer at the same time, and no more.
const AT_ONCE: usize = 256;

/// The load: dropped, it ends.
pub(crate) struct Load {
    shared: Arc<Shared>,
    registering: JoinHandle<()>,
}

struct Shared {
    client: Client,
    /// Where to register: a Web Store at times has a second beside it.
    urls: Mutex<Vec<String>>,
    told: Mutex<HashSet<String>>,
    /// Who was refused, or got no answer. They may or may not have been saved.
    refused: AtomicU64,
    paused: AtomicBool,
    at_once: Arc<Semaphore>,
}

impl Load {
    /// Starts so many registrations a second at a Web Store.
    pub(crate) fn start(url: String, rate: u32) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            client: http_client()?,
            urls: Mutex::new(vec![url]),
            told: Mutex::default(),
            refused: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        });
        let registering = tokio::spawn(register(Arc::clone(&shared), rate));
        Ok(Self { shared, registering })
    }

    /// Registers at one more address, turn by turn.
    pub(crate) fn add(&self, url: String) {
        self.shared.urls.lock().expect("no panic while it is held").push(url);
    }

    /// Leaves an address out again.
    pub(crate) fn remove(&self, url: &str) {
        self.shared.urls.lock().expect("no panic while it is held").retain(|known| known != url);
    }

    /// Registers nobody until `resume`, and returns when every answer is there.
    pub(crate) async fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        let all = u32::try_from(AT_ONCE).expect("a small number");
        drop(self.shared.at_once.acquire_many(all).await);
    }

    pub(crate) fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// The ids of those who were told that they are registered.
    pub(crate) fn told(&self) -> HashSet<String> {
        self.shared.told.lock().expect("no panic while it is held").clone()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.registering.abort();
    }
}

async fn register(shared: Arc<Shared>, rate: u32) {
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0_usize.. {
        ticks.tick().await;
        if shared.paused.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(place) = Arc::clone(&shared.at_once).acquire_owned().await else { return };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let url = {
                let urls = shared.urls.lock().expect("no panic while it is held");
                urls[n % urls.len()].clone()
            };
            match register_at(&shared.client, &url, &format!("Customer {n}")).await {
                Ok(id) => {
                    shared.told.lock().expect("no panic while it is held").insert(id);
                }
                Err(_) => {
                    shared.refused.fetch_add(1, Ordering::SeqCst);
                }
            }
            drop(place);
        });
    }
}
