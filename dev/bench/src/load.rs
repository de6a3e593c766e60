//! Registers people over connections that stay open: as fast as answers come, or at a steady rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::connection::Connection;
use super::fake_customer::{FakeCustomer, USUAL_NAME};

/// A customer, and when their registration was answered.
pub(super) type Answered = (Uuid, Instant);

pub(super) struct Load {
    /// Each connection is to one of them, turn by turn.
    pub(super) web_stores: Vec<SocketAddr>,
    pub(super) connections: usize,
    pub(super) until: Until,
    /// Registrations a second over all connections; `None` is as fast as answers come.
    pub(super) rate: Option<f64>,
    pub(super) name_characters: usize,
    /// Who is told of one in so many registrations.
    pub(super) watch: Option<(UnboundedSender<Answered>, u32)>,
}

#[derive(Clone, Copy)]
pub(super) enum Until {
    Registered(u32),
    Elapsed(Duration),
}

/// Measurement came of it.
pub(super) struct Done {
    pub(super) registered: u32,
    pub(super) elapsed: Duration,
    /// From each request to its whole answer.
    pub(super) latencies: Vec<Duration>,
    /// The last customer of each connection.
    pub(super) last: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Created {
    customer_id: Uuid,
}

/// Measurement the connections share.
struct Shared {
    load: Load,
    began: Instant,
    first_visitor: u64,
    next: AtomicU32,
}

impl Load {
    /// With usual names, as fast as it goes, watched by nobody.
    pub(super) fn new(web_stores: Vec<SocketAddr>, connections: usize, until: Until) -> Self {
        Self { web_stores, connections, until, rate: None, name_characters: USUAL_NAME, watch: None }
    }

    /// Opens all connections and only then begins.
    ///
    /// # Errors
    /// If a connection breaks, or somebody is not registered.
    pub(super) async fn run(self) -> Result<Done> {
        let mut connections = Vec::with_capacity(self.connections);
        for at in 0..self.connections {
            connections.push(Connection::open(self.web_stores[at % self.web_stores.len()]).await?);
        }
        let began = Instant::now();
        let next = AtomicU32::new(0);
        let shared = Arc::new(Shared { load: self, began, first_visitor: rand::rng().random(), next });
        let mut registering = JoinSet::new();
        for connection in connections {
            registering.spawn(register(Arc::clone(&shared), connection));
        }
        let (mut latencies, mut last) = (Vec::new(), Vec::new());
        while let Some(part) = registering.join_next().await {
            let (part, customer) = part.context("a connection's task")??;
            latencies.extend(part);
            last.extend(customer);
        }
        let registered = u32::try_from(latencies.len())?;
        ensure!(registered > 0, "nobody was registered; give it more time");
        Ok(Done { registered, elapsed: began.elapsed(), latencies, last })
    }
}

/// One connection: the time of each answer, and its last customer.
async fn register(shared: Arc<Shared>, mut to: Connection) -> Result<(Vec<Duration>, Option<Uuid>)> {
    let (mut latencies, mut last) = (Vec::new(), Vec::new());
    while let Some(n) = shared.next_turn().await {
        let visitor =
            FakeCustomer::new(shared.first_visitor.wrapping_add(n.into()), shared.load.name_characters);
        let request = visitor.request();
        let sent = Instant::now();
        let answer = to.post("/customers", &request).await?;
        latencies.push(sent.elapsed());
        ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        answer.body.clone_into(&mut last);
        if let Some((watcher, one_in)) = &shared.load.watch
            && n % one_in == 0
        {
            let _ = watcher.send((customer_id(&last)?, Instant::now()));
        }
    }
    let last = (!last.is_empty()).then(|| customer_id(&last)).transpose()?;
    Ok((latencies, last))
}

impl Shared {
    /// The number of the next registration, when its time has come; `None` at the end.
    async fn next_turn(&self) -> Option<u32> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(rate) = self.load.rate {
            sleep_until(self.began + Duration::from_secs_f64(f64::from(n) / rate)).await;
        }
        let goes_on = match self.load.until {
            Until::Registered(count) => n < count,
            Until::Elapsed(time) => self.began.elapsed() < time,
        };
        goes_on.then_some(n)
    }
}

fn customer_id(body: &[u8]) -> Result<Uuid> {
    let created: Created = serde_json::from_slice(body).context("the answer to a registration")?;
    Ok(created.customer_id)
}

/// The latency, in ms, that so many of 1,000 do not exceed.
pub(super) fn quantile(latencies: &mut [Duration], of_1000: usize) -> f64 {
    latencies.sort_unstable();
    let rank = (latencies.len() * of_1000).div_ceil(1000).max(1);
    latencies.get(rank - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::quantile;

    #[test]
    fn a_quantile_is_a_latency_that_was_measured() {
        let mut latencies: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let quantiles = [500, 990, 999, 1000].map(|of_1000| quantile(&mut latencies, of_1000));
        assert_eq!(quantiles.map(|ms| format!("{ms:.0}")), ["100", "198", "200", "200"]);
    }
}
