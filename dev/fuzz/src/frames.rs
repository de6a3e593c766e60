//! The bytes of a broker, as a stream of frames.
//!
//! The input is the size of the chunks in which the bytes arrive, and the bytes.
//!
//! - The chunks make no difference, and neither do the stops between two messages.
//! - The client library can parse a delivery with any names that passes the filter.

use std::iter;

use amq_protocol::frame::{AMQPFrame, parse_frame};
use messaging::FrameFilter;

/// The smallest frames that the services negotiate have 8 KiB.
pub(crate) const FRAME_MAX: u32 = 8192;

pub(crate) const HEADER_FRAME: u8 = 2;
const METHOD_FRAME: u8 = 1;

/// The largest short string, in bytes.
const SHORT_STRING: usize = 255;

pub(crate) fn check(input: &[u8]) {
    let Some((chunk, bytes)) = input.split_first() else { return };
    assert_eq!(filter(bytes, usize::from(*chunk) + 1), filter(bytes, usize::MAX));
    check_delivery(bytes);
}

/// Checks a delivery whose consumer tag, exchange, and routing key are the bytes.
fn check_delivery(bytes: &[u8]) {
    let mut names = bytes.chunks(SHORT_STRING).chain(iter::repeat(&[][..]));
    let mut short_string = || {
        let name = names.next().unwrap_or_default();
        [&[u8::try_from(name.len()).unwrap_or(u8::MAX)][..], name].concat()
    };
    let (tag, exchange, key) = (short_string(), short_string(), short_string());
    // The method `deliver` of the class `basic`. After the consumer tag come the delivery tag and a flag.
    let deliver = [&[0, 60, 0, 60][..], &tag, &[0, 0, 0, 0, 0, 0, 0, 1, 0], &exchange, &key].concat();
    let filtered = filter(&frame(METHOD_FRAME, &deliver), usize::MAX);
    let parsed = parse_frame(&filtered[..]);
    assert!(matches!(parsed, Ok((rest, AMQPFrame::Method(..))) if rest.is_empty()), "{parsed:?}");
}

/// Returns a frame of the first channel.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
}

/// Returns the bytes that the client library receives if they arrive in chunks of up to `chunk` bytes. The filter stops
/// after each message, as it does while a consumer holds too many bytes.
pub(crate) fn filter(bytes: &[u8], chunk: usize) -> Vec<u8> {
    let (mut filter, mut output) = (FrameFilter::new(FRAME_MAX), Vec::new());
    for mut input in bytes.chunks(chunk) {
        while !input.is_empty() {
            let taken = filter.filter(input, &mut output, |_| true);
            assert!(taken > 0, "the filter takes no bytes");
            input = &input[taken..];
        }
    }
    output
}
