//! The boundaries of frames in three protocols. Only their length headers are parsed.

use super::traffic::Direction;

/// The protocol of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// AMQP 0-9-1: frames of type, channel, size, payload, and an end byte (section 4.2.3).
    Amqp,
    /// PostgreSQL, version 3: type and length. The first messages of a connection have no type.
    Postgres,
    /// MySQL: packets with three bytes of length and one byte of sequence number.
    Mysql,
}

const AMQP_HEARTBEAT: u8 = 8;

/// PostgreSQL's requests for encryption. After the server refuses it, the client sends the startup message.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Splits the bytes of one direction of one connection into frames.
pub(super) struct FrameSplitter {
    protocol: Protocol,
    direction: Direction,
    /// True until AMQP's protocol header, or PostgreSQL's messages without a type, have passed.
    starting: bool,
    header: Vec<u8>,
    /// Remaining bytes of the current frame.
    remaining: usize,
}

impl FrameSplitter {
    pub(super) fn new(protocol: Protocol, direction: Direction) -> Self {
        let starting = match protocol {
            Protocol::Amqp => direction == Direction::Upstream,
            Protocol::Postgres => true,
            Protocol::Mysql => false,
        };
        Self { protocol, direction, starting, header: Vec::with_capacity(8), remaining: 0 }
    }

    /// Returns whether the next byte begins a frame that counts. Heartbeats do not count.
    pub(super) fn begins_frame(&self, next: u8) -> bool {
        let at_boundary = self.header.is_empty() && self.remaining == 0;
        at_boundary && !(self.protocol == Protocol::Amqp && next == AMQP_HEARTBEAT)
    }

    /// Consumes bytes of the current frame, and returns their number. `bytes` must not be empty.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.remaining == 0 {
            let header_length = self.header_length(bytes[0]);
            taken = bytes.len().min(header_length - self.header.len());
            self.header.extend_from_slice(&bytes[..taken]);
            if self.header.len() < header_length {
                return taken;
            }
            self.remaining = self.payload_length();
            self.header.clear();
        }
        let more = self.remaining.min(bytes.len() - taken);
        self.remaining -= more;
        taken + more
    }

    fn header_length(&self, next: u8) -> usize {
        let first = *self.header.first().unwrap_or(&next);
        match (self.protocol, self.starting, self.direction) {
            (Protocol::Amqp, true, _) | (Protocol::Postgres, true, Direction::Upstream) => 8,
            (Protocol::Amqp, false, _) => 7,
            // The reply to a request for encryption has one byte.
            (Protocol::Postgres, true, Direction::Downstream) if matches!(first, b'N' | b'S') => 1,
            (Protocol::Postgres, ..) => 5,
            (Protocol::Mysql, ..) => 4,
        }
    }

    /// Returns the number of bytes that follow the complete header.
    fn payload_length(&mut self) -> usize {
        let header = &self.header;
        let big_endian = |at: usize| {
            let bytes: [u8; 4] = header[at..at + 4].try_into().expect("the slice has four bytes");
            u32::from_be_bytes(bytes)
        };
        let starting = std::mem::take(&mut self.starting);
        match (self.protocol, starting, self.direction) {
            (Protocol::Amqp, true, _) => 0,
            (Protocol::Amqp, false, _) => big_endian(3) as usize + 1,
            (Protocol::Postgres, true, Direction::Upstream) => {
                self.starting = ENCRYPTION_REQUESTS.contains(&big_endian(4));
                (big_endian(0) as usize).saturating_sub(8)
            }
            (Protocol::Postgres, true, Direction::Downstream) if header.len() == 1 => 0,
            (Protocol::Postgres, ..) => (big_endian(1) as usize).saturating_sub(4),
            (Protocol::Mysql, ..) => u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize,
        }
    }
}
