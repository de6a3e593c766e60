//! A load balancer: one address in front of several instances of a service.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use reqwest::Client;
use system_tests::{customers::http_client, eventually};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

/// The interval of the health checks. The shutdown delay of an instance must be longer.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A check without a response counts as not ready. On a busy machine, a response takes seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Exceeds the time in which a check of a ready instance passes, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// More than any form and any page of the load.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Passes each request to one of the instances that are ready, in turn.
///
/// Its connections to the instances stay open and are used again, like those of any load balancer. A request goes to
/// another instance only if no connection could be opened, so that nothing was sent. A request that was sent is never
/// repeated: if its response fails, the client gets 502. Dropping the balancer ends it.
pub(super) struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    client: Client,
    instances: Mutex<Vec<Instance>>,
    turn: AtomicUsize,
}

struct Instance {
    address: SocketAddr,
    is_ready: bool,
    is_withdrawn: bool,
    /// Each request in flight has a clone.
    in_flight: Arc<()>,
}

impl Balancer {
    /// Starts a balancer on a free port.
    pub(super) async fn start(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let instance = |address: &SocketAddr| Instance {
            address: *address,
            is_ready: false,
            is_withdrawn: false,
            in_flight: Arc::default(),
        };
        let shared = Arc::new(Shared {
            client: http_client()?,
            instances: Mutex::new(addresses.iter().map(instance).collect()),
            turn: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for a load balancer")?;
        let address = listener.local_addr()?;
        let routes = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let mut tasks = vec![tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        })];
        // Without open connections between two checks: a closed one would count as a failure of the instance.
        let client = Client::builder().timeout(CHECK_TIMEOUT).pool_max_idle_per_host(0).build()?;
        for instance in addresses {
            tasks.push(tokio::spawn(check(client.clone(), Arc::clone(&shared), *instance)));
        }
        Ok(Self { address, shared, tasks })
    }

    /// Returns the URL of the balancer, without a slash at the end.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the balancer has detected that an instance is ready.
    pub(super) async fn wait_ready(&self, address: SocketAddr) -> anyhow::Result<()> {
        eventually(READY_TIMEOUT, "the load balancer detects a ready instance", async || {
            self.shared.instances().iter().any(|one| one.address == address && one.is_ready).then_some(())
        })
        .await
    }

    /// Passes no further requests to an instance, and waits until it has no request in flight.
    pub(super) async fn withdraw(&self, address: SocketAddr) {
        self.shared.update(address, |instance| instance.is_withdrawn = true);
        let is_busy =
            |instance: &Instance| instance.address == address && Arc::strong_count(&instance.in_flight) > 1;
        while self.shared.instances().iter().any(is_busy) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends [`Balancer::withdraw`]. The instance counts as not ready until the next check.
    pub(super) fn admit(&self, address: SocketAddr) {
        self.shared.update(address, |instance| {
            instance.is_withdrawn = false;
            instance.is_ready = false;
        });
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn instances(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.instances.lock().expect("no thread panics while it holds this lock")
    }

    fn update(&self, address: SocketAddr, change: impl Fn(&mut Instance)) {
        self.instances().iter_mut().filter(|instance| instance.address == address).for_each(change);
    }

    /// Returns the next ready instance that is not among `tried`, with its mark of a request in flight.
    fn next_instance(&self, tried: &[SocketAddr]) -> Option<(SocketAddr, Arc<()>)> {
        let instances = self.instances();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % instances.len().max(1);
        let (later, first) = instances.split_at(turn);
        let mut candidates = first.iter().chain(later);
        let is_usable = |instance: &&Instance| {
            instance.is_ready && !instance.is_withdrawn && !tried.contains(&instance.address)
        };
        let chosen = candidates.find(is_usable)?;
        Some((chosen.address, Arc::clone(&chosen.in_flight)))
    }
}

/// Checks the readiness of an instance until the task is aborted.
async fn check(client: Client, shared: Arc<Shared>, address: SocketAddr) {
    let url = format!("http://{address}/health/ready");
    loop {
        let response = client.get(&url).send().await;
        let is_ready = response.is_ok_and(|response| response.status() == StatusCode::OK);
        shared.update(address, |instance| instance.is_ready = is_ready);
        sleep(CHECK_INTERVAL).await;
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    remove_connection_headers(&mut head.headers);
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut tried = Vec::new();
    while let Some((address, _in_flight)) = shared.next_instance(&tried) {
        let request = shared.client.request(head.method.clone(), format!("http://{address}{path}"));
        match request.headers(head.headers.clone()).body(body.clone()).send().await {
            Ok(response) => return relay(response).await,
            Err(error) if error.is_connect() => tried.push(address),
            Err(error) => return bad_gateway(address, &error),
        }
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no instance is ready").into_response()
}

async fn relay(response: reqwest::Response) -> Response {
    let address = response.remote_addr();
    let (status, mut headers) = (response.status(), response.headers().clone());
    remove_connection_headers(&mut headers);
    match response.bytes().await {
        Ok(body) => (status, headers, Body::from(body)).into_response(),
        Err(error) => bad_gateway(address, &error),
    }
}

fn bad_gateway(address: impl std::fmt::Debug, error: &reqwest::Error) -> Response {
    (StatusCode::BAD_GATEWAY, format!("{address:?} did not respond: {error:?}")).into_response()
}

/// Removes the headers that belong to one connection.
fn remove_connection_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::{Router, http::StatusCode, routing::post};
    use system_tests::customers::http_client;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::Balancer;

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Starts an instance that accepts each request, or is never ready.
    async fn start_instance(is_ready: bool) -> SocketAddr {
        let (listener, address) = listen().await;
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let routes = Router::new()
            .route("/health/ready", axum::routing::get(async move || status))
            .route("/", post(async move || format!("from {}", address.port())));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    /// Starts an instance that is ready and closes the connection of every other request. Returns their number.
    async fn start_broken_instance() -> (SocketAddr, Arc<AtomicUsize>) {
        let (listener, address) = listen().await;
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap_or(0);
                if head[..read].starts_with(b"GET /health/ready ") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                } else {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        (address, requests)
    }

    #[tokio::test]
    async fn requests_go_to_ready_instances_only() {
        let (ready, starting) = (start_instance(true).await, start_instance(false).await);
        let (unused, absent) = listen().await;
        drop(unused);
        let balancer = Balancer::start(&[starting, absent, ready]).await.unwrap();
        let client = http_client().unwrap();
        assert_eq!(client.post(balancer.url()).send().await.unwrap().status(), 503, "before the first check");
        balancer.wait_ready(ready).await.unwrap();
        // An instance that has just ended, before a check detects it.
        balancer.shared.update(absent, |instance| instance.is_ready = true);
        for _ in 0..6 {
            let response = client.post(balancer.url()).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), format!("from {}", ready.port()));
        }
        balancer.withdraw(ready).await;
        assert_eq!(client.post(balancer.url()).send().await.unwrap().status(), 503);
    }

    #[tokio::test]
    async fn request_that_was_sent_is_not_repeated() {
        let (broken, requests) = start_broken_instance().await;
        let ready = start_instance(true).await;
        let balancer = Balancer::start(&[broken, ready]).await.unwrap();
        for instance in [broken, ready] {
            balancer.wait_ready(instance).await.unwrap();
        }
        let client = http_client().unwrap();
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(client.post(balancer.url()).send().await.unwrap().status().as_u16());
        }
        let failed = statuses.iter().filter(|status| **status == 502).count();
        assert_eq!((failed, requests.load(Ordering::SeqCst)), (3, 3), "{statuses:?}");
    }
}
