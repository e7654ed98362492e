//! Metadata.

use serde_json::{Value, json};

use super::super::ingest::metadata::{NAME, PAIRS, VALUE};
use crate::openapi::schema;

/// All metadata of something new.
pub(super) fn whole() -> Value {
    let map = json!({
        "type": "object",
        "maxProperties": PAIRS,
        "propertyNames": {"minLength": 1, "maxLength": NAME},
        "additionalProperties": schema::text(0, VALUE),
    });
    schema::nullable(map)
}

/// Changes by name.
pub(super) fn changes() -> Value {
    let map = json!({
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": NAME},
        "additionalProperties": schema::nullable(schema::text(0, VALUE)),
        "description": format!("Names that aren't there are left as they are; null removes one. At most {PAIRS} after the change."),
    });
    schema::nullable(map)
}
