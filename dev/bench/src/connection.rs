//! A minimal HTTP/1.1 client over one open connection, so that the load generator uses little CPU time.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// More headers than the services send.
const MAX_HEADERS: usize = 32;

pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
}

pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, received: Vec::with_capacity(4096) })
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Response<'_>> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address)).await
    }

    pub(crate) async fn post(&mut self, path: &str, json: &str) -> anyhow::Result<Response<'_>> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{json}",
            self.address,
            json.len()
        );
        self.send(request).await
    }

    async fn send(&mut self, request: String) -> anyhow::Result<Response<'_>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await?;
            ensure!(read > 0, "{} closed the connection", self.address);
            if let Some((status, body)) = parse_response(&self.received)? {
                return Ok(Response { status, body: &self.received[body] });
            }
        }
    }
}

/// Returns the status and the position of the body, or `None` while the response is incomplete.
fn parse_response(received: &[u8]) -> anyhow::Result<Option<(u16, Range<usize>)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received).context("the response is not HTTP")?
    else {
        return Ok(None);
    };
    let status = response.code.context("the response has no status")?;
    let mut headers = response.headers.iter();
    let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("the response has no Content-Length")?.value;
    let length: usize = std::str::from_utf8(length)?.parse().context("Content-Length is not a number")?;
    let end = head + length;
    Ok((received.len() >= end).then_some((status, head..end)))
}

#[cfg(test)]
mod tests {
    use super::parse_response;

    #[test]
    fn response_is_complete_with_its_last_byte() {
        let response = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        for end in 0..response.len() {
            assert!(parse_response(&response[..end]).unwrap().is_none(), "{end}");
        }
        let (status, body) = parse_response(response).unwrap().unwrap();
        assert_eq!((status, &response[body]), (201, &b"ok"[..]));
        assert!(parse_response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
