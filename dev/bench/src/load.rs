//! Registers customers over open connections, at the maximum rate or at a steady rate.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use rand::RngExt;
use serde::Deserialize;
use tokio::{
    sync::mpsc::UnboundedSender,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use crate::{
    connection::Connection,
    fake_customer::{FakeCustomer, USUAL_NAME},
};

/// A customer's id, and the time of the response.
pub(crate) type Registered = (Uuid, Instant);

pub(crate) struct Load {
    /// Connections are distributed over these addresses.
    pub(crate) web_stores: Vec<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) until: Until,
    /// Registrations per second over all connections. `None` is the maximum rate.
    pub(crate) rate: Option<f64>,
    pub(crate) name_characters: usize,
    /// Receives one of every `n` registrations.
    pub(crate) observer: Option<(UnboundedSender<Registered>, u32)>,
}

#[derive(Clone, Copy)]
pub(crate) enum Until {
    Registered(u32),
    Elapsed(Duration),
}

/// The result of a load.
pub(crate) struct Outcome {
    pub(crate) registered: u32,
    pub(crate) elapsed: Duration,
    /// From each request to its complete response.
    pub(crate) latencies: Vec<Duration>,
    /// The last customer of each connection.
    pub(crate) last: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Created {
    customer_id: Uuid,
}

/// The state that all connections share.
struct Shared {
    load: Load,
    began: Instant,
    first_customer: u64,
    next: AtomicU32,
}

impl Load {
    /// Returns a load with usual names, at the maximum rate, without an observer.
    pub(crate) fn new(web_stores: Vec<SocketAddr>, connections: usize, until: Until) -> Self {
        Self { web_stores, connections, until, rate: None, name_characters: USUAL_NAME, observer: None }
    }

    /// Opens all connections and then registers customers.
    ///
    /// # Errors
    /// Returns an error if a connection breaks, or if a registration is not accepted.
    pub(crate) async fn run(self) -> anyhow::Result<Outcome> {
        let mut connections = Vec::with_capacity(self.connections);
        for n in 0..self.connections {
            connections.push(Connection::open(self.web_stores[n % self.web_stores.len()]).await?);
        }
        let began = Instant::now();
        let next = AtomicU32::new(0);
        let shared = Arc::new(Shared { load: self, began, first_customer: rand::rng().random(), next });
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(register(Arc::clone(&shared), connection));
        }
        let mut latencies = Vec::new();
        let mut last = Vec::new();
        while let Some(part) = tasks.join_next().await {
            let (part, customer) = part.context("a connection's task panicked")??;
            latencies.extend(part);
            last.extend(customer);
        }
        let registered = u32::try_from(latencies.len())?;
        ensure!(registered > 0, "no customer was registered; use a longer duration");
        Ok(Outcome { registered, elapsed: began.elapsed(), latencies, last })
    }
}

/// Registers customers over one connection. Returns the latencies and the last customer.
async fn register(
    shared: Arc<Shared>,
    mut connection: Connection,
) -> anyhow::Result<(Vec<Duration>, Option<Uuid>)> {
    let mut latencies = Vec::new();
    let mut last = Vec::new();
    while let Some(n) = shared.next_turn().await {
        let number = shared.first_customer.wrapping_add(n.into());
        let request = FakeCustomer::new(number, shared.load.name_characters).request();
        let sent = Instant::now();
        let response = connection.post("/customers", &request).await?;
        latencies.push(sent.elapsed());
        ensure!(response.status == 201, "{}: {}", response.status, String::from_utf8_lossy(response.body));
        response.body.clone_into(&mut last);
        if let Some((observer, one_in)) = &shared.load.observer
            && n % one_in == 0
        {
            let _ = observer.send((customer_id(&last)?, Instant::now()));
        }
    }
    let last = (!last.is_empty()).then(|| customer_id(&last)).transpose()?;
    Ok((latencies, last))
}

impl Shared {
    /// Waits for the time of the next registration and returns its number. Returns `None` at the end.
    async fn next_turn(&self) -> Option<u32> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(rate) = self.load.rate {
            sleep_until(self.began + Duration::from_secs_f64(f64::from(n) / rate)).await;
        }
        let continues = match self.load.until {
            Until::Registered(count) => n < count,
            Until::Elapsed(time) => self.began.elapsed() < time,
        };
        continues.then_some(n)
    }
}

fn customer_id(body: &[u8]) -> anyhow::Result<Uuid> {
    let created: Created = serde_json::from_slice(body).context("cannot parse the response")?;
    Ok(created.customer_id)
}

/// Returns the latency in ms that `per_mille` of 1,000 latencies do not exceed. Sorts the latencies.
pub(crate) fn quantile_ms(latencies: &mut [Duration], per_mille: usize) -> f64 {
    latencies.sort_unstable();
    let rank = (latencies.len() * per_mille).div_ceil(1000).max(1);
    latencies.get(rank - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::quantile_ms;

    #[test]
    fn quantile_is_a_measured_latency() {
        let mut latencies: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let quantiles = [500, 990, 999, 1000].map(|per_mille| quantile_ms(&mut latencies, per_mille));
        assert_eq!(quantiles.map(|ms| format!("{ms:.0}")), ["100", "198", "200", "200"]);
    }
}
