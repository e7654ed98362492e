//! Events for a program: one object on each line.

use serde_json::{Value, json};

use crate::client::Event;
use crate::terminal::out;

/// Prints an event as `{"type": …, "data": {…}}`.
pub(super) fn print(event: &Event) {
    print_as(event.kind(), &event.data);
}

/// Prints anything else in the same form.
pub(super) fn print_as(kind: &str, data: &Value) {
    out::line(&json!({"type": kind, "data": data}).to_string());
}
