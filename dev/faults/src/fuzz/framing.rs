//! The division of a message into frames, valid or not.

use crate::wire::{Publication, frame_type, push_frame};

/// The way in which a message is divided into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Valid,
    /// Body frames of this size.
    Chunks(usize),
    FrameEnd,
    HeaderClass,
    HeaderWeight,
    BodyTooLong,
    SecondHeader,
    MethodInside,
    UnknownFrame,
    Immediate,
    FrameTooLong,
}

/// Returns the bytes of a publication, valid or not.
pub(super) fn frames(publication: &Publication, framing: Framing) -> Vec<u8> {
    let size = publication.body.len();
    let (mut method, mut header) = (publication.method(), publication.header(size as u64));
    let mut bytes = Vec::with_capacity(size + header.len() + 1024);
    let mut chunk = 100_000;
    match framing {
        Framing::Chunks(size) => chunk = size,
        Framing::Immediate => *method.last_mut().expect("the flags are last") |= 2,
        Framing::HeaderClass => header[1] = 61,
        Framing::HeaderWeight => header[3] = 1,
        Framing::FrameTooLong => chunk = size.max(1),
        _ => {}
    }
    push_frame(&mut bytes, frame_type::METHOD, &method);
    if framing == Framing::UnknownFrame {
        push_frame(&mut bytes, 9, b"");
    }
    push_frame(&mut bytes, frame_type::HEADER, &header);
    match framing {
        Framing::FrameEnd => *bytes.last_mut().expect("a frame has an end") = 0,
        Framing::SecondHeader => push_frame(&mut bytes, frame_type::HEADER, &header),
        Framing::MethodInside => push_frame(&mut bytes, frame_type::METHOD, &method),
        _ => {}
    }
    publication.push_body(&mut bytes, chunk);
    if framing == Framing::BodyTooLong {
        push_frame(&mut bytes, frame_type::BODY, b"more");
    }
    bytes
}
