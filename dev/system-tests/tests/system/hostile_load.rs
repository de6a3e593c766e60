//! One hostile address does not stop the other clients of the Web Store: they are served during each kind of load.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures_util::future::join_all;
use reqwest::{Client, StatusCode, redirect::Policy};
use rustix::process::{Resource, getrlimit, setrlimit};
use stack::service::{Program, Service};
use system_tests::{SOON, TestEnvironment, customers::register, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// The other clients use 127.0.0.1.
const HOSTILE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const CONNECTIONS: usize = 5_000;
const HEADS: usize = 200;
const HEAD_BYTES: usize = 400 * 1024;
const FLOOD_CLIENTS: usize = 50;
const FLOOD_REQUESTS: usize = 40;
const HEALTH_CHECKS: usize = 1_000;

/// The default of `WEB_STORE_REGISTRATIONS_PER_MINUTE`, and of `HTTP_MAX_CONNECTIONS_PER_ADDRESS`.
const REGISTRATIONS_PER_MINUTE: &str = "60";
const CONNECTIONS_PER_ADDRESS: &str = "400";

/// The limit, and the reserve of 8 for health checks from the same machine: this address is a loopback address.
const MAX_OPEN: usize = 408;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_address_does_not_stop_other_clients() -> anyhow::Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let environment = TestEnvironment::new().await?;
    let settings = [
        ("WEB_STORE_REGISTRATIONS_PER_MINUTE", REGISTRATIONS_PER_MINUTE),
        ("HTTP_MAX_CONNECTIONS_PER_ADDRESS", CONNECTIONS_PER_ADDRESS),
    ];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let address = web_store.address();

    // Clients that never complete their heads. Most of these connections are closed immediately.
    let slow = join_all((0..CONNECTIONS).map(|_| begin_request(address))).await;
    others_are_served("5,000 connections never complete a request", &web_store).await?;
    eventually(SOON, "few connections of one address are open", async || {
        let open = slow.iter().filter(|stream| stream.as_ref().is_ok_and(is_open)).count();
        (open <= MAX_OPEN).then_some(())
    })
    .await?;
    drop(slow);

    // The places are free again.
    let client = Client::builder().local_address(HOSTILE).redirect(Policy::none()).build()?;
    let url = web_store.url();
    eventually(SOON, "the hostile address is admitted again", async || {
        client.get(&url).send().await.ok().filter(|response| response.status() == StatusCode::OK)
    })
    .await?;

    let heads = join_all((0..HEADS).map(|_| send_large_head(address)));
    let answers = served_during("heads of 400 KiB arrive", &web_store, heads).await?;
    ensure!(
        answers.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 431")),
        "{answers:?}"
    );

    let flood = join_all((0..FLOOD_CLIENTS).map(|n| flood(&client, &url, n)));
    let registered = served_during("2,000 registrations arrive", &web_store, flood).await?;
    let registered: usize = registered.iter().sum();
    ensure!((1..=120).contains(&registered), "{registered} of 2,000 registrations of one address");

    let ready = format!("{url}/health/ready");
    let checks = join_all((0..HEALTH_CHECKS).map(|_| client.get(&ready).send()));
    served_during("1,000 health checks arrive", &web_store, checks).await?;
    ensure!(client.get(&ready).send().await?.status() == StatusCode::OK, "not ready afterwards");
    Ok(())
}

/// Returns the result of an attack during which other clients were served.
async fn served_during<T>(
    load: &str,
    web_store: &Service,
    attack: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let (result, served) = tokio::join!(attack, others_are_served(load, web_store));
    served.map(|()| result)
}

/// Registers customers from another address, and prints the longest time.
async fn others_are_served(load: &str, web_store: &Service) -> anyhow::Result<()> {
    let mut longest = Duration::ZERO;
    for n in 1..=5 {
        let started = Instant::now();
        register(web_store, &format!("Client {n} while {load}")).await?;
        longest = longest.max(started.elapsed());
    }
    println!("while {load}: other clients were served within {longest:?}");
    Ok(())
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((HOSTILE, 0).into())?;
    socket.connect(address).await
}

/// Sends only the beginning of a request.
async fn begin_request(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await?;
    Ok(stream)
}

fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Returns the response to a large head, or an empty text if the service closed the connection.
async fn send_large_head(address: SocketAddr) -> String {
    let mut response = String::new();
    if let Ok(mut stream) = connect(address).await {
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.read_to_string(&mut response).await;
    }
    response
}

/// Sends registrations without a pause, and returns the number of accepted ones.
async fn flood(client: &Client, url: &str, number: usize) -> usize {
    let mut registered = 0;
    for request in 0..FLOOD_REQUESTS {
        let form = [("name", "Mallory".to_owned()), ("email", format!("m{number}-{request}@example.org"))];
        let response = client.post(format!("{url}/customers")).form(&form).send().await;
        registered += usize::from(response.is_ok_and(|response| response.status() == StatusCode::SEE_OTHER));
    }
    registered
}
