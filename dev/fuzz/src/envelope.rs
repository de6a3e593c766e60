//! The properties and headers of a message, from the broker's bytes to the command of a flow.
//!
//! The input is the part of a content header after the size of the body: the flags and the values of the properties.
//!
//! - The client library can parse the content header that passes the filter. It fits into a frame, and the filter does
//!   not change it again.
//! - A copy for another place has the same properties and headers, and an original has no traces of a rejection.
//! - A flow makes a command with a complete envelope, or rejects the envelope.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use contracts::{CustomerRegistered, Message};
use lapin::{BasicProperties, message::Delivery};
use messaging::Incoming;
use telemetry::trace_id;
use transformer::flows::FLOWS;

use crate::frames::{FRAME_MAX, HEADER_FRAME, filter, frame};

/// The class `basic`, a weight of 0, and a body of 3 bytes.
const HEADER_HEAD: [u8; 12] = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3];

const BODY: &[u8] = include_bytes!("../../../contracts/samples/web-store.customer-registered.v1.json");

pub(crate) fn check(input: &[u8]) {
    let repaired = filter(&frame(HEADER_FRAME, &[&HEADER_HEAD[..], input].concat()), usize::MAX);
    assert!(repaired.len() <= FRAME_MAX as usize, "{} bytes", repaired.len());
    assert_eq!(filter(&repaired, usize::MAX), repaired);
    let header = parse(&repaired);
    assert_eq!((header.class_id, header.body_size), (60, 3));
    // Their bytes are compared, because a header may be a number that does not equal itself.
    let written = write(header.clone());
    assert_eq!(write(parse(&written)), written);
    read(header.properties);
}

fn parse(bytes: &[u8]) -> AMQPContentHeader {
    match parse_frame(bytes) {
        Ok(([], AMQPFrame::Header(_, header))) => header,
        other => panic!("the client library reads {other:?}"),
    }
}

fn write(header: AMQPContentHeader) -> Vec<u8> {
    let frame = AMQPFrame::Header(1, header);
    gen_frame(&frame)(Vec::new().into()).expect("the header has a binary form").write
}

/// Reads everything that the services and the console read of an envelope.
fn read(properties: BasicProperties) {
    let mut delivery = Delivery::mock(1, "".into(), "".into(), false, BODY.to_owned());
    delivery.properties = properties.clone();
    let message = Incoming::from(delivery);
    let copy = message.copy().received();
    assert_eq!(copy.properties_as_json(), message.properties_as_json());
    assert_eq!(copy.headers_as_json(), message.headers_as_json());
    let original = message.original().received();
    assert!(original.is_replay());
    let rejection = (original.rejection_code(), original.rejected_by(), original.rejected_at());
    assert_eq!(rejection, (None, None, None));
    assert_eq!(original.failed_deliveries(), 0);
    let _ = (message.failed_deliveries(), message.timestamp(), message.rejected_at());

    let mut delivery = Delivery::mock(1, "".into(), "".into(), false, BODY.to_owned());
    delivery.properties = properties.with_type(CustomerRegistered::TYPE.into());
    let event = Incoming::from(delivery);
    let flow = FLOWS.iter().find(|flow| flow.event_type == CustomerRegistered::TYPE);
    match (flow.expect("the event has a flow").forward)(&event) {
        Ok(command) => {
            let command = Incoming::from_outgoing(&command.expect("the event requires a command"));
            assert!(command.message_id().is_ok());
            assert!(command.traceparent().is_some_and(|traceparent| trace_id(&traceparent).is_some()));
            let id = event.message_id().expect("the flow has read the id").to_string();
            assert_eq!(command.correlation_id(), Some(event.correlation_id().unwrap_or(&id)));
            assert_eq!(command.header("causation-id"), Some(id.as_str()));
        }
        Err(rejection) => assert_eq!(rejection.code(), "bad-envelope"),
    }
}
