//! The frames of a publication, of any bytes.

use super::table::{length, push_short_string};

/// The largest frame in bytes, RabbitMQ's default. A content header must fit into one frame.
pub const FRAME_MAX: usize = 131_072;

/// The bytes of a frame beside its payload.
pub const FRAME_OVERHEAD: usize = 8;

/// The last byte of a frame.
pub const FRAME_END: u8 = 0xce;

/// The type of a frame.
#[allow(missing_docs, reason = "the names are those of the specification")]
pub mod frame_type {
    pub const METHOD: u8 = 1;
    pub const HEADER: u8 = 2;
    pub const BODY: u8 = 3;
    pub const HEARTBEAT: u8 = 8;
}

/// The channel that a connection uses.
pub(super) const CHANNEL: u16 = 1;

/// The class of a content header.
const BASIC: u16 = 60;

/// Class and method.
pub(super) type Method = (u16, u16);

const PUBLISH: Method = (60, 40);

/// A message to publish, of any bytes.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// The name of the exchange, up to 255 bytes.
    pub exchange: Vec<u8>,
    /// The routing key, up to 255 bytes.
    pub routing_key: Vec<u8>,
    /// The flags and values of the properties, as `Properties::encode` returns them.
    pub properties: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Publication {
    /// Returns the frames of the publication: method, content header, and bodies.
    #[must_use]
    pub fn frames(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + self.properties.len() + 1024);
        push_frame(&mut bytes, frame_type::METHOD, &self.method());
        push_frame(&mut bytes, frame_type::HEADER, &self.header(self.body.len() as u64));
        self.push_body(&mut bytes, FRAME_MAX - FRAME_OVERHEAD);
        bytes
    }

    /// Returns the payload of the method frame. The message is mandatory.
    #[must_use]
    pub fn method(&self) -> Vec<u8> {
        let mut payload = method(PUBLISH);
        payload.extend([0, 0]);
        push_short_string(&mut payload, &self.exchange);
        push_short_string(&mut payload, &self.routing_key);
        payload.push(1);
        payload
    }

    /// Returns the payload of the content header, which announces a body of `body_size` bytes.
    #[must_use]
    pub fn header(&self, body_size: u64) -> Vec<u8> {
        let mut payload = BASIC.to_be_bytes().to_vec();
        payload.extend([0, 0]);
        payload.extend(body_size.to_be_bytes());
        payload.extend(&self.properties);
        payload
    }

    /// Appends the body in frames with up to `chunk` bytes of it.
    pub fn push_body(&self, bytes: &mut Vec<u8>, chunk: usize) {
        for chunk in self.body.chunks(chunk) {
            push_frame(bytes, frame_type::BODY, chunk);
        }
    }
}

/// Appends a frame for the channel of a `Connection`.
pub fn push_frame(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    push_frame_for(CHANNEL, bytes, kind, payload);
}

pub(super) fn push_frame_for(channel: u16, bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    bytes.push(kind);
    bytes.extend(channel.to_be_bytes());
    bytes.extend(length(payload));
    bytes.extend(payload);
    bytes.push(FRAME_END);
}

pub(super) fn method((class, method): Method) -> Vec<u8> {
    [class.to_be_bytes(), method.to_be_bytes()].concat()
}
