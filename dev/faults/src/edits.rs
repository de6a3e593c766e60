//! Changes of details under load, with a record of the confirmed ones.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use reqwest::{Client, header::LOCATION};
use serde_json::json;
use system_tests::customers::email;
use tokio::{task::JoinHandle, time::sleep};

/// Customers who change their details again and again until the failure. After it, only every second one does.
const CUSTOMERS: usize = 20;

const PAUSE: Duration = Duration::from_millis(20);

/// A customer and the link to their details.
struct Customer {
    id: String,
    link: String,
}

/// Running changes. Dropping it ends them.
pub(crate) struct Edits {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The name that the Web Store has confirmed last, by the customer's id.
    confirmed: Mutex<HashMap<String, String>>,
    failed: AtomicBool,
    ended: AtomicBool,
}

impl Edits {
    /// Registers the customers, and starts to change them.
    ///
    /// # Errors
    /// Returns an error if the Web Store does not confirm a registration.
    pub(crate) async fn start(client: &Client, web_store_url: &str) -> anyhow::Result<Self> {
        let mut customers = Vec::with_capacity(CUSTOMERS);
        for n in 0..CUSTOMERS {
            customers.push(register(client, web_store_url, &format!("Editor {n}")).await?);
        }
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(edit(customers, client.clone(), Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Forgets the changes until now. From now on, only every second customer changes.
    pub(crate) fn forget_confirmed(&self) {
        self.shared.failed.store(true, Ordering::SeqCst);
        self.shared.confirmed().clear();
    }

    /// Stops the changes, and returns the names that the Web Store has confirmed last.
    pub(crate) async fn stop(mut self) -> HashMap<String, String> {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = (&mut self.task).await;
        mem::take(&mut self.shared.confirmed())
    }
}

impl Drop for Edits {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn confirmed(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.confirmed.lock().expect("no thread panics while it holds this lock")
    }
}

/// Registers a customer by the form, because only its response has the link to the details.
async fn register(client: &Client, web_store_url: &str, name: &str) -> anyhow::Result<Customer> {
    let form = [("name", name), ("email", &email(name)), ("marketing_consent", "on")];
    let request = client.post(format!("{web_store_url}/customers")).form(&form);
    let response = request.send().await?.error_for_status()?;
    let location = response.headers().get(LOCATION).context("no link in the response")?.to_str()?;
    let path = location.split('?').next().unwrap_or_default();
    let id = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Customer { id, link: format!("{web_store_url}{location}") })
}

async fn edit(customers: Vec<Customer>, client: Client, shared: Arc<Shared>) {
    for n in 0_usize.. {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        sleep(PAUSE).await;
        let step = if shared.failed.load(Ordering::SeqCst) { 2 } else { 1 };
        let customer = &customers[n * step % CUSTOMERS];
        let name = format!("Edit {n}");
        let body = json!({ "name": name, "marketing_consent": (n / CUSTOMERS).is_multiple_of(2) });
        // Without a response, it is unknown which name the Web Store has.
        let response = client.post(&customer.link).json(&body).send().await;
        if response.is_ok_and(|response| response.status().is_success()) {
            shared.confirmed().insert(customer.id.clone(), name);
        } else {
            shared.confirmed().remove(&customer.id);
        }
    }
}
