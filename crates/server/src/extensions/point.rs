//! Places in a session's log that people name in several ways.

use serde_json::{Value, json};
use tenure_core::id::{ItemId, SnapshotId};
use tenure_engine::{Cursor, Point, Sessions};

use crate::openapi::schema;
use crate::problem::Problem;

/// Reads a place: a number or a cursor, the id of an event or of a snapshot, or a snapshot's name.
pub(crate) fn read(sessions: &Sessions, field: &str, value: Value) -> Result<Point, Problem> {
    let expected = "expected the place or the id of a `session.status_idle` event, or a snapshot's id or name";
    let text = match value {
        Value::Number(number) => match number.as_u64() {
            Some(place) => return Ok(Point::Place(place)),
            None => return Err(Problem::invalid(field, format!("{expected}, got {number}"))),
        },
        Value::String(text) => text,
        other => return Err(Problem::invalid(field, format!("{expected}, got {}", crate::request::describe(&other)))),
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        let place = sessions.place(cursor).map_err(|error| Problem::invalid(field, error.to_string()))?;
        return Ok(Point::Place(place));
    }
    let prefixed = |prefix: &str| text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_'));
    if prefixed(SnapshotId::PREFIX) {
        let id = SnapshotId::parse(&text).map_err(|error| Problem::invalid(field, error.to_string()))?;
        return Ok(Point::Snapshot(id));
    }
    if prefixed(ItemId::PREFIX) {
        let id = ItemId::parse(&text).map_err(|error| Problem::invalid(field, error.to_string()))?;
        return Ok(Point::Event(id));
    }
    Ok(Point::Name(text))
}

/// What [`read`] takes.
pub(crate) fn described(doc: &str) -> Value {
    schema::said(json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1}]}), doc)
}
