//! The HTTP server: time limits, security headers, and a graceful shutdown.

use std::{collections::VecDeque, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    Shutdown,
    connections::{Connections, HttpLimits},
    head_deadline::{HeadDeadline, Requests},
    health::Draining,
};

/// Time for requests in flight after shutdown has begun. An idle keep-alive connection does not delay the
/// end of the process.
const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Time for a client to send the head of a request, from its first byte, or from the start of the connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time from the head of a request to the head of its response, including a slow request body. Longer than
/// the deadline of any handler.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of the head of a request. The response to a larger one is 431.
///
/// hyper limits its buffer to this size, but accepts a larger head that arrives completely in one read.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Connections from this machine beyond the limits, for health checks alone. The newest one replaces the
/// oldest one, so idle connections cannot occupy the reserve.
const RESERVE: usize = 8;

/// Paths of the health checks.
pub(crate) const HEALTH_PATHS: &str = "/health/";

/// Response to a connection beyond the limits.
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n";

/// Pause after the process could not accept a connection, for example without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Allows HTML with one style sheet of the same host, `data:` images, and forms to the same host. No other
/// page may embed these pages in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; \
                                       form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 9] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // For browsers without `frame-ancestors`.
    (header::X_FRAME_OPTIONS, "DENY"),
    // An address can contain an id or a search, so other hosts do not receive it.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    // Responses contain personal data, unless the handler sets another value.
    (header::CACHE_CONTROL, "no-store"),
];

/// Binds the address that the flag `setting` sets. Services do this before anything else, so that a taken port ends
/// them immediately.
///
/// # Errors
/// Returns an error if the address is in use or does not belong to this machine.
pub async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another address with {setting}"))
}

/// Serves requests until the end of the shutdown, and then finishes the requests in flight.
///
/// While the service drains, `/health/ready` responds with 503, and each response closes its connection. The listener
/// closes when draining ends. A server that fails shuts down the rest of the process. Every response has the security
/// headers. Handlers find the peer's address as [`ConnectInfo`].
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: HttpLimits,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "listening");
    serve_requests(listener, app, limits, shutdown).await
}

pub(crate) async fn serve_requests(
    listener: TcpListener,
    app: Router,
    limits: HttpLimits,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut connections = ConnectionServer::new(app, limits, shutdown.clone());
    let served = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.ended() => break Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => connections.serve(stream, peer),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) if error.raw_os_error().is_some() => {
                tracing::warn!("cannot accept connections: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => break Err(error).context("the HTTP listener failed"),
        }
    };
    drop(listener);
    shutdown.end();
    let _ = timeout(SHUTDOWN_GRACE_PERIOD, connections.graceful.shutdown()).await;
    served
}

struct ConnectionServer {
    app: Router,
    http: http1::Builder,
    connections: Connections,
    graceful: GracefulShutdown,
    reserve: VecDeque<AbortHandle>,
    shutdown: Shutdown,
}

impl ConnectionServer {
    fn new(app: Router, limits: HttpLimits, shutdown: Shutdown) -> Self {
        let mut http = http1::Builder::new();
        // This timer begins with an unused connection. `HeadDeadline` limits a slow head.
        http.timer(TokioTimer::new()).header_read_timeout(limits.keep_alive()).max_buf_size(MAX_HEAD_BYTES);
        let connections = Connections::new(limits);
        Self { app, http, connections, graceful: GracefulShutdown::new(), reserve: VecDeque::new(), shutdown }
    }

    /// Serves a connection in a task of its own, or refuses it.
    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        if let Some(place) = self.connections.try_admit(peer.ip()) {
            let connection = self.http_connection(stream, peer, false);
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        } else if peer.ip().to_canonical().is_loopback() {
            let connection = self.http_connection(stream, peer, true);
            self.reserve.push_back(tokio::spawn(connection).abort_handle());
            if self.reserve.len() > RESERVE
                && let Some(oldest) = self.reserve.pop_front()
            {
                oldest.abort();
            }
        } else {
            // The client may be gone already.
            let _ = stream.try_write(TOO_MANY_CONNECTIONS);
        }
    }

    /// Returns the future that serves a connection. A connection fails only through its client, which left, is
    /// too slow, or does not speak HTTP.
    fn http_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        only_health: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (app, shutdown) = (self.app.clone(), self.shutdown.clone());
        let requests = Arc::new(Requests::default());
        let stream = HeadDeadline::new(stream, HEADER_TIMEOUT, Arc::clone(&requests));
        let service = service_fn(move |request| {
            let (app, requests, shutdown) = (app.clone(), Arc::clone(&requests), shutdown.clone());
            async move {
                requests.begin();
                let response = respond(app, peer, request, only_health, &shutdown).await;
                requests.end();
                response
            }
        });
        let connection = self.graceful.watch(self.http.serve_connection(TokioIo::new(stream), service));
        async move {
            let _ = connection.await;
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn respond(
    app: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
    only_health: bool,
    shutdown: &Shutdown,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    if shutdown.is_draining() {
        request.extensions_mut().insert(Draining);
    }
    let mut response = if head_bytes(&request) > MAX_HEAD_BYTES {
        head_too_large()
    } else if only_health && !request.uri().path().starts_with(HEALTH_PATHS) {
        too_many_connections()
    } else {
        match timeout(REQUEST_TIMEOUT, app.oneshot(request)).await {
            Ok(Ok(response)) => response,
            Err(_) => request_timeout(),
        }
    };
    // The client opens a new connection, which a load balancer leads to another instance.
    if only_health || shutdown.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    add_security_headers(response.headers_mut());
    Ok(response)
}

fn request_timeout() -> Response {
    let close = [(header::CONNECTION, "close")];
    (StatusCode::REQUEST_TIMEOUT, close, "The request took too long. Try again.\n").into_response()
}

/// Returns the size of the request line and the headers.
fn head_bytes(request: &Request) -> usize {
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    // A colon, a space, and a line break for each header.
    request
        .headers()
        .iter()
        .fold(target, |bytes, (name, value)| bytes + name.as_str().len() + value.len() + 4)
}

fn head_too_large() -> Response {
    let close = [(header::CONNECTION, "close")];
    let text = "The head of the request is too large.\n";
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, close, text).into_response()
}

fn too_many_connections() -> Response {
    let retry = [(header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, "There are too many connections. Try again.\n").into_response()
}

/// Adds the security headers that the handler has not set.
fn add_security_headers(headers: &mut HeaderMap) {
    headers.reserve(SECURITY_HEADERS.len());
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        sync::Arc,
        time::Duration,
    };

    use super::{MAX_HEAD_BYTES, RESERVE, serve};
    use crate::{HttpLimits, Shutdown, health};
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket, TcpStream},
        sync::Notify,
        task::JoinHandle,
        time::{sleep, timeout},
    };

    const DEADLINE: Duration = Duration::from_secs(30);

    struct Running {
        address: SocketAddr,
        shutdown: Shutdown,
        served: JoinHandle<anyhow::Result<()>>,
        begun: Arc<Notify>,
        finish: Arc<Notify>,
    }

    /// Starts a server with a page, a health check, and a slow page that waits for `finish`.
    async fn start(limits: HttpLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            async move || {
                begun.notify_one();
                finish.notified().await;
                "slow"
            }
        };
        let app = Router::new()
            .route("/page", get(async || "page"))
            .route("/slow", get(slow))
            .merge(health(async || Vec::new()));
        let shutdown = Shutdown::default();
        let steps = shutdown.clone();
        let served = tokio::spawn(async move { serve(listener, app, limits, &steps).await });
        Running { address, shutdown, served, begun, finish }
    }

    impl Running {
        async fn connect_from(&self, address: &str) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0)).unwrap();
            socket.connect(self.address).await.unwrap()
        }

        /// Returns the status of a page that a new connection from an address requests.
        async fn status(&self, address: &str, path: &str) -> String {
            let mut stream = self.connect_from(address).await;
            request(&mut stream, path, true).await
        }

        /// Waits until a request gets this status.
        async fn wait_for_status(&self, address: &str, path: &str, status: &str) {
            let succeeds = async {
                while self.status(address, path).await != status {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(DEADLINE, succeeds).await.expect("the status");
        }
    }

    /// Returns the status of a response, or an empty text if the connection closes first.
    async fn request(stream: &mut TcpStream, path: &str, close: bool) -> String {
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        status_of(stream).await
    }

    async fn status_of(stream: &mut TcpStream) -> String {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("a response").unwrap_or(0);
        let response = String::from_utf8_lossy(&buffer[..read]).into_owned();
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Opens a connection that counts, by a first request.
    async fn occupy(server: &Running, address: &str) -> TcpStream {
        let mut stream = server.connect_from(address).await;
        assert_eq!(request(&mut stream, "/page", false).await, "200");
        stream
    }

    #[tokio::test]
    async fn connections_are_limited_and_health_checks_pass() {
        let server = start(HttpLimits::for_test(3, 2, 75)).await;
        let first = occupy(&server, "127.0.0.1").await;
        let _second = occupy(&server, "127.0.0.1").await;
        assert_eq!(server.status("127.0.0.1", "/page").await, "503", "two for each address");
        let _third = occupy(&server, "127.0.0.2").await;
        assert_eq!(server.status("127.0.0.3", "/page").await, "503", "three in total");

        // Idle connections beyond the limits do not occupy the reserve of health checks.
        let mut idle = Vec::new();
        for _ in 0..3 * RESERVE {
            idle.push(server.connect_from("127.0.0.1").await);
        }
        for _ in 0..3 * RESERVE {
            assert_eq!(server.status("127.0.0.1", "/health/live").await, "200");
        }
        drop(first);
        server.wait_for_status("127.0.0.1", "/page", "200").await;
    }

    #[tokio::test]
    async fn head_beyond_limit_is_refused() {
        let server = start(HttpLimits::default()).await;
        for (length, status) in [(MAX_HEAD_BYTES / 2, "200"), (MAX_HEAD_BYTES, "431")] {
            let mut stream = server.connect_from("127.0.0.1").await;
            let long = "a".repeat(length);
            let head = format!("GET /page HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(status_of(&mut stream).await, status, "{length}");
        }
    }

    #[tokio::test]
    async fn unused_connection_closes_after_keep_alive() {
        let server = start(HttpLimits::for_test(10, 10, 1)).await;
        let mut stream = occupy(&server, "127.0.0.1").await;
        let read = timeout(DEADLINE, stream.read(&mut [0; 64])).await.expect("the connection closes");
        assert_eq!(read.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn listener_closes_when_draining_ends() {
        let server = start(HttpLimits::default()).await;
        let mut stream = server.connect_from("127.0.0.1").await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        server.begun.notified().await;
        server.shutdown.end();
        let refused = async {
            while TcpStream::connect(server.address).await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, refused).await.expect("connections are refused");
        // The request in flight keeps the server running meanwhile.
        assert!(!server.served.is_finished());
        server.finish.notify_one();
        assert_eq!(status_of(&mut stream).await, "200");
        timeout(DEADLINE, server.served).await.expect("the server ends").unwrap().unwrap();
    }
    #[tokio::test]
    async fn draining_server_serves_requests_and_closes_their_connections() {
        let server = start(HttpLimits::default()).await;
        let mut unused = occupy(&server, "127.0.0.1").await;
        assert_eq!(server.status("127.0.0.1", "/health/ready").await, "200");
        server.shutdown.drain();
        assert_eq!(server.status("127.0.0.1", "/health/ready").await, "503");
        assert_eq!(server.status("127.0.0.1", "/health/live").await, "200");
        // A new connection and an open one.
        for stream in [&mut server.connect_from("127.0.0.1").await, &mut unused] {
            assert_eq!(request(stream, "/page", false).await, "200");
            let read = timeout(DEADLINE, stream.read(&mut [0; 64])).await.expect("the connection closes");
            assert_eq!(read.unwrap_or(0), 0);
        }
        assert!(!server.served.is_finished());
        server.shutdown.end();
        timeout(DEADLINE, server.served).await.expect("the server ends").unwrap().unwrap();
    }
}
