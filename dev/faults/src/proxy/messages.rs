//! Where one message ends and the next begins, in three protocols, by their length headers alone.

use super::Direction;

/// What is spoken over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AMQP 0-9-1: frames of type, channel, size, payload and an end byte (section 4.2.3).
    Amqp,
    /// PostgreSQL, version 3: type and length; a connection's first messages have no type.
    Postgres,
    /// MySQL: packets with three bytes of length and one of sequence.
    Mysql,
}

const AMQP_HEARTBEAT: u8 = 8;

/// PostgreSQL's requests for encryption; after a refusal the start-up message follows.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Splits the bytes of one direction of one connection into messages.
pub(super) struct Messages {
    protocol: Protocol,
    direction: Direction,
    /// Before the start-up is over: AMQP's protocol header, PostgreSQL's messages without a type.
    starting: bool,
    header: Vec<u8>,
    /// Bytes of the message in hand that are still to come.
    left: usize,
}

impl Messages {
    pub(super) fn new(protocol: Protocol, direction: Direction) -> Self {
        let starting = match protocol {
            Protocol::Amqp => direction == Direction::ToServer,
            Protocol::Postgres => true,
            Protocol::Mysql => false,
        };
        Self { protocol, direction, starting, header: Vec::with_capacity(8), left: 0 }
    }

    /// Whether a message that counts begins with this byte, which is the next.
    pub(super) fn begins(&self, next: u8) -> bool {
        let at_boundary = self.header.is_empty() && self.left == 0;
        at_boundary && !(self.protocol == Protocol::Amqp && next == AMQP_HEARTBEAT)
    }

    /// How many of the next bytes, which are not none, belong to the message in hand.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left == 0 {
            let header_length = self.header_length(bytes[0]);
            taken = bytes.len().min(header_length - self.header.len());
            self.header.extend_from_slice(&bytes[..taken]);
            if self.header.len() < header_length {
                return taken;
            }
            self.left = self.rest_length();
            self.header.clear();
        }
        let more = self.left.min(bytes.len() - taken);
        self.left -= more;
        taken + more
    }

    fn header_length(&self, next: u8) -> usize {
        let first = *self.header.first().unwrap_or(&next);
        match (self.protocol, self.starting, self.direction) {
            (Protocol::Amqp, true, _) | (Protocol::Postgres, true, Direction::ToServer) => 8,
            (Protocol::Amqp, false, _) => 7,
            // The one byte that answers a request for encryption.
            (Protocol::Postgres, true, Direction::ToService) if matches!(first, b'N' | b'S') => 1,
            (Protocol::Postgres, ..) => 5,
            (Protocol::Mysql, ..) => 4,
        }
    }

    /// How much follows a header that is complete.
    fn rest_length(&mut self) -> usize {
        let header = &self.header;
        let big_endian = |at: usize| {
            let bytes: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes)
        };
        let starting = std::mem::take(&mut self.starting);
        match (self.protocol, starting, self.direction) {
            (Protocol::Amqp, true, _) => 0,
            (Protocol::Amqp, false, _) => big_endian(3) as usize + 1,
            (Protocol::Postgres, true, Direction::ToServer) => {
                self.starting = ENCRYPTION_REQUESTS.contains(&big_endian(4));
                (big_endian(0) as usize).saturating_sub(8)
            }
            (Protocol::Postgres, true, Direction::ToService) if header.len() == 1 => 0,
            (Protocol::Postgres, ..) => (big_endian(1) as usize).saturating_sub(4),
            (Protocol::Mysql, ..) => u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize,
        }
    }
}
