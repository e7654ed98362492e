//! Ids, times and numbers as the wire has them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};
use tenure_core::id::{AgentId, EnvironmentId, ItemId, SessionId, ThreadId};
use tenure_core::time::Timestamp;

/// An id in the peer's form: prefix, underscore, 22 base58 digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<T>(pub(in super::super) T);

macro_rules! printed {
    ($($kind:ty),*) => {$(
        impl Serialize for Id<$kind> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0.prefixed())
            }
        }

        impl JsonSchema for Id<$kind> {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                printed_id(<$kind>::PREFIX)
            }
        }
    )*};
}

printed!(AgentId, EnvironmentId, ItemId, SessionId, ThreadId);

/// The schema of an id as it is printed.
pub(crate) fn printed_id(prefix: &str) -> Schema {
    json_schema!({"type": "string", "pattern": format!("^{prefix}_[1-9A-HJ-NP-Za-km-z]{{22}}$")})
}

/// A time in RFC 3339, UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(pub(in super::super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.as_micros()) {
            Ok(at) => write!(f, "{at:.6}"),
            // Beyond the year 9999 there is no RFC 3339.
            Err(_) => f.write_str("9999-12-31T23:59:59.999999Z"),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// A list of what the peer has and we don't yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmptyList;

impl Serialize for EmptyList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(Some(0))?.end()
    }
}

impl JsonSchema for EmptyList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EmptyList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "maxItems": 0, "description": "Not there yet: always empty."})
    }
}

/// Something the peer has and we don't yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Null;

impl Serialize for Null {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl JsonSchema for Null {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Null".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "null", "description": "Not there yet: always null."})
    }
}

/// An object of any kind.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": true})
}

/// Milliseconds as the peer's fractional seconds.
pub(crate) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
