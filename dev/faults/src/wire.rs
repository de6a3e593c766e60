//! AMQP 0-9-1 on the wire, without a client library: sends what no library would send.
//!
//! The encoder checks nothing. A [`Publication`] may have properties, tables, and frames of any bytes. If the
//! broker refuses them, [`Connection::publish`] reports it, and the connection or channel is closed.
//!
//! The specification is <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>.

mod connection;
mod frame;
mod properties;
mod table;

pub use connection::{Connection, Delivery, Outcome};
pub use frame::{FRAME_END, FRAME_MAX, FRAME_OVERHEAD, Publication, frame_type, push_frame};
pub use properties::{Properties, Property};
pub use table::{Field, Table};

#[cfg(test)]
mod tests {
    use super::{Field, Properties, Property, Publication, Table};

    #[test]
    fn encoded_properties_are_decoded() {
        let table = Table::default()
            .with("text", &Field::long_string("é"))
            .with(b"\xff", &Field::nested(20_000, |level| level % 2 == 0));
        let properties = Properties::default()
            .with_text(Property::AppId, b"caf\xe9")
            .with_bytes(Property::DeliveryMode, &[2])
            .with_headers(&table);
        let decoded = Properties::decode(&properties.encode()).unwrap();
        assert_eq!(decoded.text(Property::AppId).unwrap(), b"caf\xe9");
        assert_eq!(decoded.text(Property::UserId), None);
        assert_eq!(decoded.header("text").unwrap(), "é".as_bytes());
        assert_eq!(decoded.header_names().unwrap(), [b"text".to_vec(), b"\xff".to_vec()]);
    }

    #[test]
    fn large_body_is_split_into_frames() {
        let publication = Publication { body: vec![7; 2 * super::FRAME_MAX], ..Publication::default() };
        let frames = publication.frames();
        let head = publication.method().len() + publication.header(0).len();
        assert_eq!(frames.len(), head + publication.body.len() + 5 * super::FRAME_OVERHEAD);
    }
}
