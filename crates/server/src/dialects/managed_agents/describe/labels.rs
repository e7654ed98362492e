//! Labels.

use serde_json::{Value, json};

use super::super::ingest::labels::{LONGEST, MOST};
use crate::openapi::{Parameter, schema};

/// The field `labels`.
pub(super) fn labels(doc: &str) -> Value {
    let mut list = schema::list(label(), 0, MOST);
    list["uniqueItems"] = true.into();
    schema::ours(schema::nullable(list), doc)
}

/// The parameter `labels[]`.
pub(super) fn filter() -> Parameter {
    let list = json!({"type": "array", "items": label(), "maxItems": MOST});
    Parameter::query("labels[]", list, "Only those that have all of these labels. The page's cursor belongs to them.")
        .ours()
}

fn label() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[A-Za-z0-9_./-]+$"})
}
