//! The basic properties of a message, as bytes.

use super::table::{self, Entry, Table, push_short_string};

/// A property, in the order of the flags. AMQP 0-9-1, class `basic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum Property {
    ContentType,
    ContentEncoding,
    Headers,
    DeliveryMode,
    Priority,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Timestamp,
    Type,
    UserId,
    AppId,
    ClusterId,
}

impl Property {
    /// All properties whose value is a short string.
    pub const TEXTS: [Self; 10] = [
        Self::ContentType,
        Self::ContentEncoding,
        Self::CorrelationId,
        Self::ReplyTo,
        Self::Expiration,
        Self::MessageId,
        Self::Type,
        Self::UserId,
        Self::AppId,
        Self::ClusterId,
    ];

    /// The number of properties.
    pub const COUNT: usize = 14;

    fn flag(self) -> u16 {
        1 << (15 - self as u16)
    }
}

/// Properties: a flag and a value of any bytes for each one that is present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: [Option<Vec<u8>>; Property::COUNT],
}

impl Properties {
    /// Sets a short string of any bytes, up to 255.
    #[must_use]
    pub fn with_text(self, property: Property, text: impl AsRef<[u8]>) -> Self {
        let mut value = Vec::new();
        push_short_string(&mut value, text.as_ref());
        self.with_bytes(property, &value)
    }

    /// Sets the value of a property to any bytes.
    #[must_use]
    pub fn with_bytes(mut self, property: Property, value: &[u8]) -> Self {
        self.values[property as usize] = Some(value.to_vec());
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn with_headers(self, table: &Table) -> Self {
        self.with_bytes(Property::Headers, &table.encode())
    }

    /// Removes a property.
    #[must_use]
    pub fn without(mut self, property: Property) -> Self {
        self.values[property as usize] = None;
        self
    }

    /// Returns the value of a short string, or `None` if the property is missing.
    #[must_use]
    pub fn text(&self, property: Property) -> Option<&[u8]> {
        self.values[property as usize].as_deref()?.get(1..)
    }

    /// Returns the value of a header that is a long string, or `None` if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.headers()?;
        headers
            .into_iter()
            .find(|(found, kind, _)| *found == name.as_bytes() && *kind == b'S')
            .map(|found| found.2)
    }

    /// Returns the names of the headers, or `None` if there are none.
    #[must_use]
    pub fn header_names(&self) -> Option<Vec<Vec<u8>>> {
        Some(self.headers()?.into_iter().map(|(name, _, _)| name.to_vec()).collect())
    }

    fn headers(&self) -> Option<Vec<Entry<'_>>> {
        table::entries(self.values[Property::Headers as usize].as_deref()?.get(4..)?)
    }

    /// Returns the flags and the values of all properties that are present.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with_flags(0)
    }

    /// Returns the flags, together with further flags, and the values.
    #[must_use]
    pub fn encode_with_flags(&self, flags: u16) -> Vec<u8> {
        let present = self.values.iter().zip((0..16).rev());
        let flags =
            present.filter(|(value, _)| value.is_some()).fold(flags, |flags, (_, bit)| flags | (1 << bit));
        let values = self.values.iter().flatten().flatten();
        flags.to_be_bytes().iter().chain(values).copied().collect()
    }

    /// Reads flags and values. Returns `None` if they are malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        const ALL: [(Property, usize); Property::COUNT] = {
            use Property::{
                AppId, ClusterId, ContentEncoding, ContentType, CorrelationId, DeliveryMode, Expiration,
                Headers, MessageId, Priority, ReplyTo, Timestamp, Type, UserId,
            };
            // The size of a value, or 0 if its length comes first.
            [
                (ContentType, 0),
                (ContentEncoding, 0),
                (Headers, 0),
                (DeliveryMode, 1),
                (Priority, 1),
                (CorrelationId, 0),
                (ReplyTo, 0),
                (Expiration, 0),
                (MessageId, 0),
                (Timestamp, 8),
                (Type, 0),
                (UserId, 0),
                (AppId, 0),
                (ClusterId, 0),
            ]
        };
        let (flags, mut rest) = bytes.split_first_chunk::<2>()?;
        let flags = u16::from_be_bytes(*flags);
        let mut properties = Self::default();
        for (property, size) in ALL {
            if flags & property.flag() == 0 {
                continue;
            }
            let size = match property {
                Property::Headers => 4 + u32::from_be_bytes(*rest.first_chunk()?) as usize,
                _ if size == 0 => 1 + usize::from(*rest.first()?),
                _ => size,
            };
            let (value, after) = rest.split_at_checked(size)?;
            properties.values[property as usize] = Some(value.to_vec());
            rest = after;
        }
        Some(properties)
    }
}
