//! Repairs incoming frames that the client library cannot parse.
//!
//! Other applications may send properties that are valid AMQP but that the client library rejects: a short
//! string that is not UTF-8 ends the connection, and deeply nested tables overflow the stack of its thread.
//! Either would affect all messages of the connection. So this filter reads the frames first, and changes only
//! the parts that the library cannot parse:
//!
//! - In short strings, each byte that is not part of valid UTF-8 becomes `?`.
//! - A header that is nested too deeply or malformed is removed. Its name is added to the header
//!   [`REMOVED_HEADERS`].
//! - If a content header exceeds the negotiated size of a frame, the headers that do not fit are removed. RabbitMQ
//!   does not check this size when it delivers: another publisher's frames may be larger, and the broker adds
//!   `x-delivery-count` to a redelivered message.
//! - Properties that cannot be separated from each other are removed as a whole.

use std::{mem, str};

/// The header with the names of removed headers, separated by commas.
pub(crate) const REMOVED_HEADERS: &str = "removed-headers";

/// Bytes before the payload of a frame: type, channel, and size. AMQP 0-9-1, section 4.2.3.
const FRAME_HEAD: usize = 7;
/// The byte after the payload of a frame.
const FRAME_END: usize = 1;

const METHOD_FRAME: u8 = 1;
const HEADER_FRAME: u8 = 2;

/// The class `connection`, its first method, and its method with the largest frame that the broker accepts.
const CONNECTION: u16 = 10;
const START: u16 = 10;
const TUNE: u16 = 30;

/// The class `basic`, and those of its methods that carry text of other applications.
const BASIC: u16 = 60;
const RETURN: u16 = 50;
const DELIVER: u16 = 60;
const GET_OK: u16 = 71;

/// The first channel of a connection, on which a session consumes.
const FIRST_CHANNEL: [u8; 2] = [0, 1];

/// Larger frames are passed on unchanged. RabbitMQ accepts frames of up to 128 KiB, unless it is configured
/// otherwise.
const MAX_INSPECTED: usize = 16 * 1024 * 1024;

/// The smallest size of a frame to which a peer may limit the other one. AMQP 0-9-1, section 4.2.3.
const FRAME_MIN_SIZE: u32 = 4096;

/// Bytes of a content header before its properties.
const HEADER_HEAD: usize = 12;

/// Bytes of all properties without the entries of the headers: flags, ten short strings, the fixed values, and a
/// length.
const MAX_OTHER_PROPERTIES: usize = 2 + 10 * 256 + 10 + 4;

/// Levels of tables and arrays within a header. RabbitMQ's own headers, such as `x-death`, have three.
const MAX_DEPTH: usize = 16;

/// Bytes of names that [`REMOVED_HEADERS`] lists.
const MAX_REMOVED_NAMES: usize = 1000;

/// Bytes of the entry [`REMOVED_HEADERS`]: name, type, length, and names.
const MAX_REMOVED_ENTRY: usize = 1 + REMOVED_HEADERS.len() + 1 + 4 + MAX_REMOVED_NAMES;

/// The properties in the order of their flags, from bit 15. AMQP 0-9-1, class `basic`.
const PROPERTIES: [Property; 14] = [
    Property::ShortString, // content-type
    Property::ShortString, // content-encoding
    Property::Headers,
    Property::Fixed(1),    // delivery-mode
    Property::Fixed(1),    // priority
    Property::ShortString, // correlation-id
    Property::ShortString, // reply-to
    Property::ShortString, // expiration
    Property::ShortString, // message-id
    Property::Fixed(8),    // timestamp
    Property::ShortString, // type
    Property::ShortString, // user-id
    Property::ShortString, // app-id
    Property::ShortString, // cluster-id
];

/// Flags without a property. Bit 0 announces more flags, which AMQP 0-9-1 does not define.
const UNKNOWN_FLAGS: u16 = 0b11;

#[derive(Debug, Clone, Copy)]
enum Property {
    ShortString,
    Headers,
    Fixed(usize),
}

/// A filter of the bytes that a broker sends. It keeps the state between two chunks of input.
#[derive(Debug)]
pub struct FrameFilter {
    /// The largest frame that the client library accepts, in bytes.
    frame_max: usize,
    /// The beginning of a frame that is inspected when it is complete.
    frame: Vec<u8>,
    /// Bytes of a frame that are passed on without inspection.
    pass: usize,
    /// Bytes of the current message body that have not been passed on.
    body: u64,
    /// Bytes of the bodies of all messages on the first channel so far.
    bodies: u64,
    /// The number of all messages on the first channel so far. Other channels have messages for operation.
    messages: u64,
    /// The major version of the broker, or 0 if it is not known.
    broker_version: u32,
}

impl FrameFilter {
    /// Creates a filter for a client library that negotiates frames of up to `frame_max` bytes.
    #[must_use]
    pub fn new(frame_max: u32) -> Self {
        let mut filter = Self {
            frame_max: usize::MAX,
            frame: Vec::new(),
            pass: 0,
            body: 0,
            bodies: 0,
            messages: 0,
            broker_version: 0,
        };
        filter.limit_frames(frame_max);
        filter
    }

    /// Lowers the size of the largest frame. 0 means "no limit".
    fn limit_frames(&mut self, frame_max: u32) {
        if frame_max != 0 {
            self.frame_max = self.frame_max.min(frame_max.max(FRAME_MIN_SIZE) as usize);
        }
    }

    /// Moves frames from `input` to `output`. Returns the number of bytes taken from `input`.
    ///
    /// Stops early at the end of a message if `stop` returns true for the bytes of all bodies on the first channel so
    /// far.
    pub fn filter(&mut self, input: &[u8], output: &mut Vec<u8>, stop: impl Fn(u64) -> bool) -> usize {
        let mut rest = input;
        while !rest.is_empty() {
            if self.pass > 0 {
                let length = self.pass.min(rest.len());
                output.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
                self.pass -= length;
                if self.pass == 0 && self.body == 0 && stop(self.bodies) {
                    break;
                }
                continue;
            }
            // The usual case: the frame is complete and needs no copy of its own.
            if self.frame.is_empty()
                && let Some(frame) = complete_frame(rest)
            {
                self.pass_frame(frame, output);
                rest = &rest[frame.len()..];
                continue;
            }
            let missing = self.missing();
            let length = missing.min(rest.len());
            self.frame.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
            if length == missing {
                self.advance(output);
            }
        }
        input.len() - rest.len()
    }

    /// Returns the bytes of the bodies of all messages on the first channel so far.
    pub(crate) fn received(&self) -> u64 {
        self.bodies
    }

    /// Returns the number of all messages on the first channel so far. The body of the last one may be incomplete.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the major version of the broker, or 0 before the broker has announced it.
    pub(crate) fn broker_version(&self) -> u32 {
        self.broker_version
    }

    /// Returns whether the filter is between two messages, where a frame can be inserted.
    pub(crate) fn at_boundary(&self) -> bool {
        self.pass == 0 && self.body == 0 && self.frame.is_empty()
    }

    /// Returns the number of bytes until the head or the whole of the collected frame is complete.
    fn missing(&self) -> usize {
        match frame_size(&self.frame) {
            None => FRAME_HEAD - self.frame.len(),
            Some(size) => size - self.frame.len(),
        }
    }

    /// Handles a collected frame when its head is complete, and again when all of it is.
    fn advance(&mut self, output: &mut Vec<u8>) {
        let Some(size) = frame_size(&self.frame) else { return };
        if !is_inspected(&self.frame, size) {
            self.pass = size - self.frame.len();
            self.body = self.body.saturating_sub((self.pass - FRAME_END) as u64);
            output.append(&mut self.frame);
        } else if self.frame.len() == size {
            let mut frame = mem::take(&mut self.frame);
            self.pass_frame(&frame, output);
            // The allocation is used again for the next frame.
            frame.clear();
            self.frame = frame;
        }
    }

    /// Passes on a complete method frame or content header, repaired if necessary.
    fn pass_frame(&mut self, frame: &[u8], output: &mut Vec<u8>) {
        let payload = FRAME_HEAD..frame.len() - FRAME_END;
        if frame[0] == METHOD_FRAME {
            if let Some(frame_max) = tuned_frame_max(&frame[payload.clone()]) {
                self.limit_frames(frame_max);
            }
            if let Some(version) = started_version(&frame[payload.clone()]) {
                self.broker_version = version;
            }
            let start = output.len();
            output.extend_from_slice(frame);
            repair_method(&mut output[start..][payload]);
            return;
        }
        self.body = body_size(&frame[payload.clone()]);
        if frame[1..3] == FIRST_CHANNEL {
            // A broken size must not end the connection here, where no error can be reported.
            self.bodies = self.bodies.saturating_add(self.body);
            self.messages += 1;
        }
        let max_size = self.frame_max.saturating_sub(FRAME_HEAD + FRAME_END);
        match repaired_header(&frame[payload], max_size) {
            None => output.extend_from_slice(frame),
            Some(payload) => write_frame(frame, &payload, output),
        }
    }
}

/// Returns the size of a frame with its head and its end, or `None` if its head is incomplete.
fn frame_size(frame: &[u8]) -> Option<usize> {
    let size = frame.get(3..FRAME_HEAD)?;
    Some(FRAME_HEAD + u32::from_be_bytes(size.try_into().ok()?) as usize + FRAME_END)
}

/// Returns whether a frame of this size may carry text of other applications.
fn is_inspected(frame: &[u8], size: usize) -> bool {
    matches!(frame[0], METHOD_FRAME | HEADER_FRAME) && size <= MAX_INSPECTED
}

/// Returns the frame at the start of the input if it is complete and is inspected.
fn complete_frame(input: &[u8]) -> Option<&[u8]> {
    let size = frame_size(input)?;
    let frame = input.get(..size)?;
    is_inspected(frame, size).then_some(frame)
}

fn write_frame(original: &[u8], payload: &[u8], output: &mut Vec<u8>) {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    output.extend_from_slice(&original[..3]);
    output.extend_from_slice(&size.to_be_bytes());
    output.extend_from_slice(payload);
    output.extend_from_slice(&original[original.len() - FRAME_END..]);
}

/// Returns the arguments of a method of the class `connection`.
fn connection_arguments(payload: &[u8], method: u16) -> Option<&[u8]> {
    let (ids, arguments) = payload.split_first_chunk::<4>()?;
    let [class_high, class_low] = CONNECTION.to_be_bytes();
    let [method_high, method_low] = method.to_be_bytes();
    (*ids == [class_high, class_low, method_high, method_low]).then_some(arguments)
}

/// Returns the largest frame that the broker announces, if the method is `tune`.
fn tuned_frame_max(payload: &[u8]) -> Option<u32> {
    let arguments = connection_arguments(payload, TUNE)?;
    // The maximum number of channels comes first.
    let frame_max = arguments.get(2..6)?.try_into().ok()?;
    Some(u32::from_be_bytes(frame_max))
}

/// Returns the major version that the broker announces among its properties, if the method is `start`.
fn started_version(payload: &[u8]) -> Option<u32> {
    let mut arguments = Reader(connection_arguments(payload, START)?);
    let _protocol_version = arguments.take(2)?;
    let mut properties = Reader(arguments.long_string()?);
    while let Some(name) = properties.short_string() {
        let value = properties.skip_value()?;
        if name == b"version" {
            let major = str::from_utf8(value).ok()?.split('.').next()?;
            return major.parse().ok();
        }
    }
    None
}

/// Returns the size of the message body that a content header announces.
fn body_size(payload: &[u8]) -> u64 {
    payload.get(4..12).and_then(|size| size.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Repairs the short strings of the methods that deliver a message.
fn repair_method(payload: &mut [u8]) {
    let Some(ids) = payload.first_chunk::<4>() else { return };
    let class = u16::from_be_bytes([ids[0], ids[1]]);
    let method = u16::from_be_bytes([ids[2], ids[3]]);
    // The number of bytes before each short string.
    let strings: &[usize] = match (class, method) {
        (BASIC, DELIVER) => &[0, 9, 0],
        (BASIC, RETURN) => &[2, 0, 0],
        (BASIC, GET_OK) => &[9, 0],
        _ => return,
    };
    let mut rest = &mut payload[4..];
    for before in strings {
        let Some((_, string)) = rest.split_at_mut_checked(*before) else { return };
        let Some((length, string)) = string.split_first_mut() else { return };
        let Some((string, after)) = string.split_at_mut_checked(usize::from(*length)) else { return };
        repair_utf8(string);
        rest = after;
    }
}

/// Replaces each byte that is not part of valid UTF-8 by `?`.
fn repair_utf8(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Err(error) = str::from_utf8(rest) {
        let valid = error.valid_up_to();
        let invalid = error.error_len().unwrap_or(rest.len() - valid);
        rest[valid..valid + invalid].fill(b'?');
        rest = &mut rest[valid + invalid..];
    }
}

/// Returns the payload of a content header that the client library accepts, up to `max_size` bytes. Returns `None`
/// if it accepts the original.
fn repaired_header(payload: &[u8], max_size: usize) -> Option<Vec<u8>> {
    let (fixed, properties) = payload.split_at_checked(HEADER_HEAD)?;
    if payload.len() <= max_size && inspect(properties) == Inspection::Valid {
        return None;
    }
    let others = HEADER_HEAD + MAX_OTHER_PROPERTIES + MAX_REMOVED_ENTRY;
    let max_headers = max_size.saturating_sub(others);
    let repaired = repaired_properties(properties, max_headers).unwrap_or_else(|| vec![0, 0]);
    Some([fixed, &repaired].concat())
}

#[derive(PartialEq, Eq)]
enum Inspection {
    Valid,
    Invalid,
}

/// Inspects the flags and the values of properties, without an allocation.
fn inspect(properties: &[u8]) -> Inspection {
    let mut reader = Reader(properties);
    let valid = (|| {
        let flags = u16::from_be_bytes(reader.take(2)?.try_into().ok()?);
        if flags & UNKNOWN_FLAGS != 0 {
            return None;
        }
        for (property, flag) in PROPERTIES.iter().zip((0..16).rev()) {
            if flags & (1 << flag) == 0 {
                continue;
            }
            match property {
                Property::ShortString => drop(str::from_utf8(reader.short_string()?).ok()?),
                Property::Fixed(size) => drop(reader.take(*size)?),
                Property::Headers => check_table(reader.long_string()?, 1)?,
            }
        }
        reader.0.is_empty().then_some(())
    })();
    if valid.is_some() { Inspection::Valid } else { Inspection::Invalid }
}

/// Returns the flags and the values of properties with repaired strings, and without headers that are malformed,
/// nested too deeply, or beyond `max_headers` bytes. Returns `None` if the properties cannot be separated.
fn repaired_properties(properties: &[u8], max_headers: usize) -> Option<Vec<u8>> {
    let mut reader = Reader(properties);
    let flags = u16::from_be_bytes(reader.take(2)?.try_into().ok()?);
    if flags & UNKNOWN_FLAGS != 0 {
        return None;
    }
    let mut repaired = flags.to_be_bytes().to_vec();
    for (property, flag) in PROPERTIES.iter().zip((0..16).rev()) {
        if flags & (1 << flag) == 0 {
            continue;
        }
        match property {
            Property::ShortString => {
                let string = reader.short_string()?;
                repaired.push(u8::try_from(string.len()).ok()?);
                let start = repaired.len();
                repaired.extend_from_slice(string);
                repair_utf8(&mut repaired[start..]);
            }
            Property::Fixed(size) => repaired.extend_from_slice(reader.take(*size)?),
            Property::Headers => {
                let table = repaired_headers(reader.long_string()?, max_headers);
                repaired.extend_from_slice(&u32::try_from(table.len()).ok()?.to_be_bytes());
                repaired.extend_from_slice(&table);
            }
        }
    }
    Some(repaired)
}

/// Returns the entries that the client library can parse, up to `max_size` bytes, and one with the names of the
/// others.
fn repaired_headers(table: &[u8], max_size: usize) -> Vec<u8> {
    let mut reader = Reader(table);
    let mut kept = Vec::with_capacity(table.len().min(max_size) + MAX_REMOVED_ENTRY);
    let mut removed = Vec::new();
    while !reader.0.is_empty() {
        let entry = reader.0;
        let Some(name) = reader.short_string() else { break };
        let value = reader.0;
        if reader.skip_value().is_none() {
            push_name(&mut removed, name);
            break;
        }
        let value = &value[..value.len() - reader.0.len()];
        let entry = &entry[..entry.len() - reader.0.len()];
        let fits = kept.len() + entry.len() <= max_size;
        if fits && str::from_utf8(name).is_ok() && check_value(&mut Reader(value), 1).is_some() {
            kept.extend_from_slice(entry);
        } else {
            push_name(&mut removed, name);
        }
    }
    if let Ok(length) = u32::try_from(removed.len())
        && length > 0
    {
        kept.push(u8::try_from(REMOVED_HEADERS.len()).unwrap_or(0));
        kept.extend_from_slice(REMOVED_HEADERS.as_bytes());
        kept.push(b'S');
        kept.extend_from_slice(&length.to_be_bytes());
        kept.extend_from_slice(&removed);
    }
    kept
}

fn push_name(names: &mut Vec<u8>, name: &[u8]) {
    if names.len() + 1 + name.len() <= MAX_REMOVED_NAMES {
        if !names.is_empty() {
            names.push(b',');
        }
        let start = names.len();
        names.extend_from_slice(name);
        repair_utf8(&mut names[start..]);
    }
}

/// Returns `Some` if the client library can parse a table at this depth.
fn check_table(table: &[u8], depth: usize) -> Option<()> {
    let mut reader = Reader(table);
    while !reader.0.is_empty() {
        str::from_utf8(reader.short_string()?).ok()?;
        check_value(&mut reader, depth)?;
    }
    Some(())
}

fn check_value(reader: &mut Reader, depth: usize) -> Option<()> {
    match reader.0.first()? {
        b'A' | b'F' if depth >= MAX_DEPTH => None,
        b'A' => {
            let mut values = Reader(reader.skip_value()?);
            while !values.0.is_empty() {
                check_value(&mut values, depth + 1)?;
            }
            Some(())
        }
        b'F' => check_table(reader.skip_value()?, depth + 1),
        _ => reader.skip_value().map(drop),
    }
}

/// The bytes that remain to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    /// Skips the type and the value of a field. Returns the value without its length.
    ///
    /// The types are those of RabbitMQ: <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3>.
    fn skip_value(&mut self) -> Option<&'a [u8]> {
        match self.take(1)?[0] {
            b'V' => self.take(0),
            b't' | b'b' | b'B' => self.take(1),
            b's' | b'U' | b'u' => self.take(2),
            b'I' | b'i' | b'f' => self.take(4),
            b'D' => self.take(5),
            b'L' | b'l' | b'd' | b'T' => self.take(8),
            b'S' | b'x' | b'A' | b'F' => self.long_string(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::{AMQPFrame, parse_frame};
    use proptest::prelude::*;

    use super::{FrameFilter, MAX_DEPTH, REMOVED_HEADERS};

    const FRAME_MAX: u32 = 131_072;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
    }

    /// Returns a content header of a message with a body of 3 bytes.
    fn content_header(flags: u16, values: &[u8]) -> Vec<u8> {
        frame(2, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3], &flags.to_be_bytes()[..], values].concat())
    }

    /// Returns a table with one entry.
    fn headers(name: &[u8], value: &[u8]) -> Vec<u8> {
        let entry = [&[u8::try_from(name.len()).unwrap()], name, value].concat();
        [&u32::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat()
    }

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(b"V".to_vec(), |inner, _| {
            [b"A", &u32::try_from(inner.len()).unwrap().to_be_bytes()[..], &inner].concat()
        })
    }

    fn filtered(input: &[u8]) -> Vec<u8> {
        let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
        assert_eq!(filter.filter(input, &mut output, |_| false), input.len());
        output
    }

    /// Returns the properties that the client library reads from the first frame.
    fn parsed(bytes: &[u8]) -> lapin::BasicProperties {
        match parse_frame(bytes) {
            Ok((_, AMQPFrame::Header(_, header))) => header.properties,
            other => panic!("{other:?}"),
        }
    }

    const APP_ID: u16 = 1 << 3;
    const HEADERS: u16 = 1 << 13;

    #[test]
    fn start_announces_version_of_broker() {
        let mut properties = Vec::new();
        for (name, value) in [("product", "RabbitMQ"), ("version", "4.3.6"), ("platform", "Erlang")] {
            properties.push(u8::try_from(name.len()).unwrap());
            properties.extend_from_slice(name.as_bytes());
            properties.push(b'S');
            properties.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            properties.extend_from_slice(value.as_bytes());
        }
        let mut start = vec![0, 10, 0, 10, 0, 9];
        start.extend_from_slice(&u32::try_from(properties.len()).unwrap().to_be_bytes());
        start.extend_from_slice(&properties);
        let mut filter = FrameFilter::new(FRAME_MAX);
        filter.filter(&frame(1, &start), &mut Vec::new(), |_| false);
        assert_eq!(filter.broker_version(), 4);
    }

    #[test]
    fn valid_frames_pass_unchanged() {
        let table = headers("é".as_bytes(), &nested(MAX_DEPTH - 1));
        let header = content_header(HEADERS | APP_ID, &[&table[..], b"\x02ok"].concat());
        let deliver = frame(1, b"\0\x3c\0\x3c\x02ct\0\0\0\0\0\0\0\x01\0\x02ex\x02rk");
        let stream = [deliver, header, frame(3, b"abc"), frame(8, b"")].concat();
        assert_eq!(filtered(&stream), stream);
    }

    #[test]
    fn short_string_that_is_not_utf8_is_repaired() {
        let properties = parsed(&filtered(&content_header(APP_ID, b"\x05caf\xe9!")));
        assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "caf?!");
        let deliver = frame(1, b"\0\x3c\0\x3c\x02ct\0\0\0\0\0\0\0\x01\0\x02e\xff\x02\xc3k");
        assert!(parse_frame(&filtered(&deliver)[..]).is_ok());
        assert!(parse_frame(&deliver[..]).is_err());
    }

    #[test]
    fn header_that_cannot_be_parsed_is_removed_and_listed() {
        for (name, value) in [
            (&b"deep"[..], nested(MAX_DEPTH)),
            (b"huge", nested(20_000)),
            (b"type", b"?".to_vec()),
            (b"\xff", b"V".to_vec()),
        ] {
            let header = content_header(HEADERS | APP_ID, &[&headers(name, &value)[..], b"\x02ok"].concat());
            let properties = parsed(&filtered(&header));
            let table = properties.headers().clone().unwrap();
            let names: Vec<_> = table.inner().keys().map(lapin::types::ShortString::as_str).collect();
            assert_eq!(names, [REMOVED_HEADERS]);
            assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "ok");
        }
    }

    #[test]
    fn properties_that_cannot_be_separated_are_removed() {
        for properties in
            [content_header(APP_ID, b"\x05a"), content_header(1, b""), content_header(HEADERS, b"\xff")]
        {
            assert_eq!(parsed(&filtered(&properties)), lapin::BasicProperties::default());
        }
    }

    #[test]
    fn headers_beyond_frame_are_removed_and_listed() {
        let text = |length: u32| [&b"S"[..], &length.to_be_bytes(), &b"x".repeat(length as usize)].concat();
        let table = |length| {
            let entries =
                [headers(b"large", &text(length)), headers(b"x-delivery-count", b"l\0\0\0\0\0\0\0\x01")];
            let entries = [&entries[0][4..], &entries[1][4..]].concat();
            [&u32::try_from(entries.len()).unwrap().to_be_bytes()[..], &entries].concat()
        };
        let largest = FRAME_MAX - 8 - 12 - 2 - 4 - 11 - 26;
        let fits = content_header(HEADERS, &table(largest));
        assert_eq!((fits.len(), filtered(&fits)), (FRAME_MAX as usize, fits.clone()));
        for (limits, length) in
            [(vec![FRAME_MAX], largest + 1), (vec![FRAME_MAX, 8192], 8192), (vec![8192, 0], 8192)]
        {
            let mut filter = FrameFilter::new(limits[0]);
            let mut output = Vec::new();
            if let Some(limit) = limits.get(1) {
                let tune = [b"\0\x0a\0\x1e\0\0", &limit.to_be_bytes()[..], b"\0\0"].concat();
                filter.filter(&frame(1, &tune), &mut output, |_| false);
                output.clear();
            }
            filter.filter(&content_header(HEADERS, &table(length)), &mut output, |_| false);
            let properties = parsed(&output);
            let table = properties.headers().clone().unwrap();
            let names: Vec<_> = table.inner().keys().map(lapin::types::ShortString::as_str).collect();
            assert_eq!(names, [REMOVED_HEADERS, "x-delivery-count"]);
        }
    }

    #[test]
    fn filter_stops_at_end_of_message() {
        let message = [content_header(0, b""), frame(3, b"abc")].concat();
        let stream = [message.clone(), message.clone()].concat();
        let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
        assert_eq!(filter.filter(&stream, &mut output, |received| received > 2), message.len());
        assert!(filter.at_boundary());
        assert_eq!((output, filter.received()), (message, 3));
    }

    #[test]
    fn impossible_body_sizes_do_not_overflow() {
        let header = |size: u64| frame(2, &[&[0, 60, 0, 0][..], &size.to_be_bytes(), &[0, 0]].concat());
        let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
        filter.filter(&[header(u64::MAX), header(1)].concat(), &mut output, |_| false);
        assert_eq!((filter.messages(), filter.received()), (2, u64::MAX));
    }

    #[test]
    fn only_messages_of_first_channel_count() {
        let message = [content_header(0, b""), frame(3, b"abc")].concat();
        let mut other = message.clone();
        let body = other.len() - frame(3, b"abc").len();
        (other[2], other[body + 2]) = (2, 2);
        let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
        let stream = [other, message].concat();
        assert_eq!(filter.filter(&stream, &mut output, |received| received > 2), stream.len());
        assert_eq!((filter.messages(), filter.received()), (1, 3));
    }

    proptest! {
        #[test]
        fn any_content_header_can_be_parsed_afterwards(
            flags: u16,
            values in prop::collection::vec(any::<u8>(), 0..64),
            table in prop::collection::vec(prop_oneof![Just(b'A'), Just(b'F'), Just(0), Just(3), any::<u8>()], 0..64),
        ) {
            let table = [&u32::try_from(table.len()).unwrap().to_be_bytes()[..], &table].concat();
            for header in [content_header(flags, &values), content_header(HEADERS, &table)] {
                parsed(&filtered(&header));
            }
        }

        #[test]
        fn result_does_not_depend_on_chunks(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            chunk in 1_usize..50,
        ) {
            let stream: Vec<u8> = parts
                .into_iter()
                .flat_map(|(header, bytes)| if header { content_header(APP_ID, &bytes) } else { frame(3, &bytes) })
                .collect();
            let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
            for input in stream.chunks(chunk) {
                filter.filter(input, &mut output, |_| false);
            }
            prop_assert_eq!(output, filtered(&stream));
        }
    }
}
