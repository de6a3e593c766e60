//! Registers customers at a constant rate, and records the confirmed registrations.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use system_tests::customers::{http_client, register_at};
use tokio::time::interval;

use crate::pace::Pace;

/// A running load. Dropping it ends the load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    pace: Pace,
}

struct Shared {
    client: Client,
    /// The Web Stores that receive the registrations in turn.
    urls: Mutex<Vec<String>>,
    confirmed: Mutex<HashSet<String>>,
    /// The number of registrations with an error or without a response. Their customers may be stored.
    refused: AtomicU64,
}

impl Load {
    /// Starts `rate` registrations per second at a Web Store.
    pub(crate) fn start(url: String, rate: u32) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            client: http_client()?,
            urls: Mutex::new(vec![url]),
            confirmed: Mutex::default(),
            refused: AtomicU64::new(0),
        });
        let registering = Arc::clone(&shared);
        let pace = Pace::start(rate, move |n| register(Arc::clone(&registering), n));
        Ok(Self { shared, pace })
    }

    /// Adds a Web Store that receives registrations.
    pub(crate) fn add_web_store(&self, url: String) {
        self.shared.urls().push(url);
    }

    /// Removes a Web Store. It receives no further registrations.
    pub(crate) fn remove_web_store(&self, url: &str) {
        self.shared.urls().retain(|known| known != url);
    }

    /// Stops the registrations, and waits until all responses have arrived.
    pub(crate) async fn pause(&self) {
        self.pace.pause().await;
    }

    /// Continues after [`Load::pause`].
    pub(crate) fn resume(&self) {
        self.pace.resume();
    }

    /// Returns the ids of the customers whose registration the Web Store has confirmed.
    pub(crate) fn confirmed(&self) -> HashSet<String> {
        self.shared.confirmed().clone()
    }

    /// Returns the number of registrations that the Web Store has not confirmed.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Waits until the Web Store has confirmed at least `count` registrations.
    pub(crate) async fn wait_confirmed(&self, count: usize) {
        let mut poll = interval(Duration::from_millis(100));
        while self.shared.confirmed().len() < count {
            poll.tick().await;
        }
    }
}

impl Shared {
    fn urls(&self) -> MutexGuard<'_, Vec<String>> {
        self.urls.lock().expect("no thread panics while it holds this lock")
    }

    fn confirmed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.confirmed.lock().expect("no thread panics while it holds this lock")
    }

    fn url(&self, n: usize) -> String {
        let urls = self.urls();
        urls[n % urls.len()].clone()
    }
}

async fn register(shared: Arc<Shared>, n: usize) {
    match register_at(&shared.client, &shared.url(n), &format!("Customer {n}")).await {
        Ok(id) => {
            shared.confirmed().insert(id);
        }
        Err(_) => {
            shared.refused.fetch_add(1, Ordering::SeqCst);
        }
    }
}
