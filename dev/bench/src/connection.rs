//! A lean client of HTTP/1.1 over one connection that stays open: the load must not be what is measured.

use std::net::SocketAddr;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any of our services sends.
const HEADERS: usize = 32;

pub(super) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
}

pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, received: Vec::with_capacity(4096) })
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Answer<'_>> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address)).await
    }

    pub(super) async fn post(&mut self, path: &str, json: &str) -> Result<Answer<'_>> {
        let (address, length) = (self.address, json.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{json}"
        );
        self.send(request).await
    }

    async fn send(&mut self, request: String) -> Result<Answer<'_>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        loop {
            let read = self.stream.read_buf(&mut self.received).await?;
            ensure!(read > 0, "{} closed the connection", self.address);
            if let Some((status, body)) = whole_answer(&self.received)? {
                return Ok(Answer { status, body: &self.received[body] });
            }
        }
    }
}

/// The status, and where the body is; `None` until all of it is there.
fn whole_answer(received: &[u8]) -> Result<Option<(u16, Range<usize>)>> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut answer = Response::new(&mut headers);
    let Status::Complete(head) = answer.parse(received).context("an answer that is no HTTP")? else {
        return Ok(None);
    };
    let status = answer.code.context("an answer without a status")?;
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer that does not tell its length")?.value;
    let end = head + std::str::from_utf8(length)?.parse::<usize>().context("the length of an answer")?;
    Ok((received.len() >= end).then_some((status, head..end)))
}

#[cfg(test)]
mod tests {
    use super::whole_answer;

    #[test]
    fn an_answer_is_whole_when_its_last_byte_is_there() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
        for end in 0..answer.len() {
            assert!(whole_answer(&answer[..end]).unwrap().is_none(), "{end}");
        }
        let (status, body) = whole_answer(answer).unwrap().unwrap();
        assert_eq!((status, &answer[body]), (201, &b"ok"[..]));
        assert!(whole_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
