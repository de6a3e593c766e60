//! The tables and fields of AMQP, as RabbitMQ encodes them.
//!
//! RabbitMQ's types differ from the specification: <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3>.

/// The entries of a field table, encoded one after another. A name may occur several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(Vec<u8>);

/// A field: its type and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(Vec<u8>);

impl Table {
    /// Returns the table with one more entry. A name is up to 255 bytes long.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<[u8]>, field: &Field) -> Self {
        push_short_string(&mut self.0, name.as_ref());
        self.0.extend(&field.0);
        self
    }

    /// Returns whether there is an entry with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        entries(&self.0).is_some_and(|entries| entries.iter().any(|(found, _, _)| *found == name.as_bytes()))
    }

    /// Returns the size of the entries in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Returns the table with the entries of another one at its end.
    #[must_use]
    pub fn with_all(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self
    }

    /// Returns the length of the entries, and the entries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&length(&self.0), &self.0[..]].concat()
    }
}

impl Field {
    /// Returns a field of any type and any value.
    #[must_use]
    pub fn raw(kind: u8, value: &[u8]) -> Self {
        Self([&[kind], value].concat())
    }

    /// Returns a field with a length before its value, of any type.
    #[must_use]
    pub fn with_length(kind: u8, value: &[u8]) -> Self {
        Self([&[kind], &length(value)[..], value].concat())
    }

    /// Returns a boolean.
    #[must_use]
    pub fn boolean(value: bool) -> Self {
        Self::raw(b't', &[value.into()])
    }

    /// Returns a long string, which may have any bytes.
    #[must_use]
    pub fn long_string(value: impl AsRef<[u8]>) -> Self {
        Self::with_length(b'S', value.as_ref())
    }

    /// Returns an array.
    #[must_use]
    pub fn array(fields: &[Self]) -> Self {
        let values: Vec<u8> = fields.iter().flat_map(|field| &field.0).copied().collect();
        Self::with_length(b'A', &values)
    }

    /// Returns a nested table.
    #[must_use]
    pub fn table(table: &Table) -> Self {
        Self::with_length(b'F', &table.0)
    }

    /// Returns arrays and tables in each other, `depth` levels, with nothing in the innermost one. A level is a
    /// table if `is_table` returns true. A level of an array has 5 bytes, and a level of a table has 6.
    #[must_use]
    pub fn nested(depth: usize, is_table: impl Fn(usize) -> bool) -> Self {
        let mut contents = vec![0; depth.max(1)];
        for level in (0..contents.len() - 1).rev() {
            contents[level] = usize::from(is_table(level)) + 5 + contents[level + 1];
        }
        let mut bytes = Vec::with_capacity(contents[0] + 5);
        for (level, content) in contents.iter().enumerate() {
            bytes.push(if is_table(level) { b'F' } else { b'A' });
            bytes.extend(u32::try_from(*content).unwrap_or(u32::MAX).to_be_bytes());
            if is_table(level) && level + 1 < contents.len() {
                // The entry's name is empty.
                bytes.push(0);
            }
        }
        Self(bytes)
    }

    /// Returns the size of the field in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// The name, the type, and the value of an entry.
pub(super) type Entry<'a> = (&'a [u8], u8, &'a [u8]);

/// Returns the names, types, and values of the entries of a table. The values have no length. Returns `None` if the
/// table is malformed.
pub(super) fn entries(mut rest: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while let Some((name_length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(*name_length))?;
        let (kind, after) = after.split_first()?;
        let (size, after) = match kind {
            b'V' => (0, after),
            b't' | b'b' | b'B' => (1, after),
            b's' | b'U' | b'u' => (2, after),
            b'I' | b'i' | b'f' => (4, after),
            b'D' => (5, after),
            b'L' | b'l' | b'd' | b'T' => (8, after),
            b'S' | b'x' | b'A' | b'F' => {
                let (size, after) = after.split_first_chunk::<4>()?;
                (u32::from_be_bytes(*size) as usize, after)
            }
            _ => return None,
        };
        let (value, after) = after.split_at_checked(size)?;
        entries.push((name, *kind, value));
        rest = after;
    }
    Some(entries)
}

/// Returns the length of bytes as four bytes.
pub(super) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Appends up to 255 bytes as a short string.
pub(super) fn push_short_string(to: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(255)];
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend(bytes);
}
