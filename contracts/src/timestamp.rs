//! Times on the wire: RFC 3339, written in UTC with six decimals; any offset is read.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    DateTime::deserialize(from)
}

/// What writers keep to. Years before 1000 do not fit into a MySQL DATETIME; leap seconds fit hardly anywhere.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "date-time",
        "pattern": r"^[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{6}Z$",
        "x-unit": "RFC 3339, UTC, microseconds",
    })
}
