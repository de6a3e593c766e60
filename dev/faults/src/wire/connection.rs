//! A connection to the broker that can send any bytes.

use std::io;

use anyhow::{Context, bail, ensure};
use stack::connection_urls::PASSWORD;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{
    frame::{CHANNEL, FRAME_MAX, FRAME_OVERHEAD, Method, Publication, frame_type, method, push_frame_for},
    properties::Properties,
    table::{Field, Table, length, push_short_string},
};

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const CHANNEL_CLOSE_OK: Method = (20, 41);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);
const RETURN: Method = (60, 50);
const GET: Method = (60, 70);
const GET_OK: Method = (60, 71);
const GET_EMPTY: Method = (60, 72);
const ACK: Method = (60, 80);
const NACK: Method = (60, 120);

/// A connection with one channel in confirm mode.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    open: bool,
}

/// The broker's reaction to a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message is in every queue that it was routed to.
    Confirmed,
    /// No queue was bound to receive the message.
    Returned,
    /// A queue refused the message.
    Nacked,
    /// The broker closed the channel or the connection, for this reason.
    Refused(String),
}

/// A message taken from a queue.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The routing key with which the message was published.
    pub routing_key: Vec<u8>,
    /// The properties.
    pub properties: Properties,
    /// The size of the content header's frame in bytes.
    pub header_frame: usize,
    /// The body.
    pub body: Vec<u8>,
}

/// A frame that was received.
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Connection {
    /// Connects to a broker on this machine as a user of the development system, opens a channel, and selects
    /// confirm mode.
    ///
    /// # Errors
    /// Returns an error if the broker is unreachable or refuses the connection.
    pub async fn open(port: u16, virtual_host: &str, user: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect to the broker")?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream), open: true };
        connection.stream.write_all(b"AMQP\0\0\x09\x01").await?;
        connection.expect(START).await?;
        let mut start = method(START_OK);
        let capability = Table::default()
            .with("publisher_confirms", &Field::boolean(true))
            .with("basic.nack", &Field::boolean(true));
        start.extend(Table::default().with("capabilities", &Field::table(&capability)).encode());
        push_short_string(&mut start, b"PLAIN");
        let response = format!("\0{user}\0{PASSWORD}");
        start.extend(length(response.as_bytes()));
        start.extend(response.as_bytes());
        push_short_string(&mut start, b"en_US");
        connection.call(0, &start, TUNE).await?;
        // One channel, and no heartbeats.
        let mut tune = method(TUNE_OK);
        tune.extend(1_u16.to_be_bytes());
        tune.extend(u32::try_from(FRAME_MAX)?.to_be_bytes());
        tune.extend(0_u16.to_be_bytes());
        connection.send_method(0, &tune).await?;
        let mut open = method(OPEN);
        push_short_string(&mut open, virtual_host.as_bytes());
        open.extend([0, 0]);
        connection.call(0, &open, OPEN_OK).await?;
        connection.open_channel().await?;
        Ok(connection)
    }

    /// Returns whether the connection can be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Publishes a message and waits for the broker's reaction.
    pub async fn publish(&mut self, publication: &Publication) -> Outcome {
        self.publish_frames(&publication.frames()).await
    }

    /// Sends the frames of a publication, and waits for the broker's reaction.
    pub async fn publish_frames(&mut self, frames: &[u8]) -> Outcome {
        let outcome = self.try_publish(frames).await;
        outcome.unwrap_or_else(|error| {
            self.open = false;
            Outcome::Refused(format!("{error:#}"))
        })
    }

    async fn try_publish(&mut self, frames: &[u8]) -> anyhow::Result<Outcome> {
        // The broker may close the connection before it has read everything. Its reason is still readable.
        let sent = self.stream.write_all(frames).await;
        let mut returned = false;
        loop {
            let Frame { kind, payload } = match self.receive().await {
                Ok(frame) => frame,
                Err(error) => return Err(sent.err().unwrap_or(error).into()),
            };
            if kind != frame_type::METHOD {
                continue;
            }
            match method_of(&payload)? {
                ACK if returned => return Ok(Outcome::Returned),
                ACK => return Ok(Outcome::Confirmed),
                NACK => return Ok(Outcome::Nacked),
                RETURN => returned = true,
                CHANNEL_CLOSE => {
                    self.send_method(CHANNEL, &method(CHANNEL_CLOSE_OK)).await?;
                    self.open_channel().await?;
                    return Ok(Outcome::Refused(close_reason(&payload)));
                }
                CLOSE => {
                    self.open = false;
                    let _ = self.send_method(0, &method(CLOSE_OK)).await;
                    return Ok(Outcome::Refused(close_reason(&payload)));
                }
                _ => {}
            }
        }
    }

    /// Takes a message from a queue. Returns `None` if the queue is empty.
    ///
    /// # Errors
    /// Returns an error if the broker closes the channel or the connection.
    pub async fn get(&mut self, queue: &str) -> anyhow::Result<Option<Delivery>> {
        let mut get = method(GET);
        get.extend([0, 0]);
        push_short_string(&mut get, queue.as_bytes());
        // Without acknowledgement.
        get.push(1);
        self.send_method(CHANNEL, &get).await?;
        let payload = self.receive_method().await?;
        match method_of(&payload)? {
            GET_EMPTY => return Ok(None),
            GET_OK => {}
            other => bail!("the broker sent {other:?} instead of a message: {}", close_reason(&payload)),
        }
        // The method has a delivery tag and a flag before the exchange.
        let mut strings = payload.get(13..).unwrap_or_default();
        let _exchange = take_short_string(&mut strings)?;
        let routing_key = take_short_string(&mut strings)?.to_vec();
        let header = self.receive().await?;
        ensure!(header.kind == frame_type::HEADER, "the broker sent a frame of type {}", header.kind);
        let size = header.payload.get(4..12).context("the content header is too short")?;
        let size = usize::try_from(u64::from_be_bytes(size.try_into()?))?;
        let mut body = Vec::with_capacity(size);
        while body.len() < size {
            body.extend(self.receive().await?.payload);
        }
        let properties = Properties::decode(&header.payload[12..]).context("malformed properties")?;
        let header_frame = header.payload.len() + FRAME_OVERHEAD;
        Ok(Some(Delivery { routing_key, properties, header_frame, body }))
    }

    async fn open_channel(&mut self) -> anyhow::Result<()> {
        let mut open = method(CHANNEL_OPEN);
        open.push(0);
        self.call(CHANNEL, &open, CHANNEL_OPEN_OK).await?;
        let mut select = method(CONFIRM_SELECT);
        select.push(0);
        self.call(CHANNEL, &select, CONFIRM_SELECT_OK).await
    }

    /// Sends a method and waits for its reply.
    async fn call(&mut self, channel: u16, payload: &[u8], reply: Method) -> anyhow::Result<()> {
        self.send_method(channel, payload).await?;
        self.expect(reply).await
    }

    async fn send_method(&mut self, channel: u16, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + FRAME_OVERHEAD);
        push_frame_for(channel, &mut bytes, frame_type::METHOD, payload);
        self.stream.write_all(&bytes).await
    }

    async fn expect(&mut self, expected: Method) -> anyhow::Result<()> {
        let payload = self.receive_method().await?;
        let found = method_of(&payload)?;
        ensure!(
            found == expected,
            "the broker sent {found:?} instead of {expected:?}: {}",
            close_reason(&payload)
        );
        Ok(())
    }

    async fn receive_method(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let Frame { kind, payload } = self.receive().await?;
            match kind {
                frame_type::METHOD => return Ok(payload),
                frame_type::HEARTBEAT => {}
                other => bail!("the broker sent a frame of type {other}"),
            }
        }
    }

    async fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; size as usize + 1];
        self.stream.read_exact(&mut payload).await?;
        payload.pop();
        Ok(Frame { kind: head[0], payload })
    }
}

fn method_of(payload: &[u8]) -> anyhow::Result<Method> {
    let ids = payload.first_chunk::<4>().context("the method frame is too short")?;
    Ok((u16::from_be_bytes([ids[0], ids[1]]), u16::from_be_bytes([ids[2], ids[3]])))
}

fn take_short_string<'a>(from: &mut &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let (length, rest) = from.split_first().context("a short string is missing")?;
    let (string, rest) =
        rest.split_at_checked(usize::from(*length)).context("a short string is too short")?;
    *from = rest;
    Ok(string)
}

/// Returns the code and the text of a `close` method.
fn close_reason(payload: &[u8]) -> String {
    let code = payload.get(4..6).map_or(0, |code| u16::from_be_bytes([code[0], code[1]]));
    let text = payload.get(6..).and_then(|mut rest| take_short_string(&mut rest).ok());
    format!("{code} {}", String::from_utf8_lossy(text.unwrap_or_default()))
}
