//! Continuous registrations in the background of a test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stack::service::Service;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::{
    customers::{http_client, register_at},
    eventually,
};

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Clients that register customers one after another until they are stopped.
#[derive(Debug)]
pub struct RegistrationLoad {
    confirmed: watch::Receiver<Vec<String>>,
    failures: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// The results of all registrations of a load.
#[derive(Debug)]
pub struct LoadResults {
    /// The ids of all customers whose registration was confirmed.
    pub confirmed: Vec<String>,
    /// The number of registrations that were refused or got no response.
    pub failures: usize,
}

impl RegistrationLoad {
    /// Starts `clients` clients of a Web Store. They follow the service if it restarts at the same address.
    ///
    /// # Errors
    /// Returns an error if an HTTP client cannot be built.
    pub fn start(web_store: &Service, clients: usize) -> anyhow::Result<Self> {
        let (sender, confirmed) = watch::channel(Vec::new());
        let (failures, stopped) = (Arc::default(), Arc::default());
        let mut load = Self { confirmed, failures, stopped, clients: Vec::with_capacity(clients) };
        for client_number in 0..clients {
            let (client, url) = (http_client()?, web_store.url());
            let (failures, stopped) = (Arc::clone(&load.failures), Arc::clone(&load.stopped));
            let sender = sender.clone();
            load.clients.push(tokio::spawn(async move {
                for n in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("Customer {client_number} {n}");
                    if let Ok(id) = register_at(&client, &url, &name).await {
                        sender.send_modify(|confirmed| confirmed.push(id));
                    } else {
                        failures.fetch_add(1, Ordering::Relaxed);
                        sleep(PAUSE_AFTER_FAILURE).await;
                    }
                }
            }));
        }
        Ok(load)
    }

    /// Waits until `count` more registrations have been confirmed.
    ///
    /// # Errors
    /// Returns an error if `deadline` passes.
    pub async fn wait_for_more(&self, count: usize, deadline: Duration) -> anyhow::Result<()> {
        let before = self.confirmed.borrow().len();
        let condition = format!("{count} more registrations");
        eventually(deadline, &condition, async || {
            (self.confirmed.borrow().len() >= before + count).then_some(())
        })
        .await
    }

    /// Returns the ids of the customers whose registration has been confirmed.
    #[must_use]
    pub fn confirmed_ids(&self) -> Vec<String> {
        self.confirmed.borrow().clone()
    }

    /// Stops the clients after their current registration and returns the results.
    ///
    /// # Errors
    /// Returns an error if a client has panicked.
    pub async fn stop(self) -> anyhow::Result<LoadResults> {
        self.stopped.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await?;
        }
        let confirmed = self.confirmed.borrow().clone();
        Ok(LoadResults { confirmed, failures: self.failures.load(Ordering::Relaxed) })
    }
}
