//! What a service's program can do besides being the service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Subcommand;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(5);

/// Without a command the program is the service.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Ask the service that runs on this machine whether it is ready: exit status 0 or 1
    Health,
}

impl Command {
    /// Carries the command out, for the service that listens there.
    ///
    /// # Errors
    /// The service is not ready, or does not answer within 5 s.
    pub async fn run(self, listen: SocketAddr) -> anyhow::Result<()> {
        match self {
            Self::Health => timeout(DEADLINE, ready(own_address(listen))).await.context("no answer")?,
        }
    }
}

/// A container image has no curl, and this needs no more of HTTP than a status line.
async fn ready(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("nothing answers at {address}"))?;
    let request = format!("GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    println!("{body}");
    ensure!(response.starts_with("HTTP/1.1 200 "), "not ready");
    Ok(())
}

/// A service that listens on every address is asked on the loopback one.
fn own_address(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}
