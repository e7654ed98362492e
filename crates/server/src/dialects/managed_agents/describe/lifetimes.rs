//! When a new session stops or ends by itself.

use serde_json::{Value, json};

use super::super::ingest::lifetimes::{KEPT, LONGEST, OUTCOMES, THEN};
use crate::openapi::schema;

/// The field `lifetimes`.
pub(super) fn lifetimes() -> Value {
    let span = |least, doc: &str| schema::said(schema::nullable(schema::integer(least, LONGEST)), doc);
    let word = |words, doc: &str| schema::said(schema::nullable(schema::one_of(words)), doc);
    let optional = [
        ("idle_seconds", span(1, "After how long an idleness; null is never.")),
        ("then", word(THEN, "What follows then. Only with `idle_seconds`.")),
        ("outcome", word(OUTCOMES, "How it will have ended. Only with `then: end`.")),
        ("keep", word(KEPT, "What is kept then. Only with `then: end`.")),
        ("sandbox_idle_seconds", span(1, "How long the sandbox alone outlives the work; null is for ever.")),
        ("max_duration_seconds", span(1, "The longest it may run since its sandbox last started; null is for ever.")),
        ("end_when_agent_exits", schema::nullable(json!({"type": "boolean"}))),
        ("stop_grace_seconds", span(0, "How long processes get between being asked to end and being ended.")),
    ];
    let mut schema = schema::object([], optional);
    let is = |name: &str, schema: Value| json!({"properties": {name: schema}, "required": [name]});
    let set = |name: &str| is(name, json!({"type": ["string", "integer"]}));
    schema["allOf"] = json!([
        {"if": set("then"), "then": set("idle_seconds")},
        {"if": {"anyOf": [set("outcome"), set("keep")]}, "then": is("then", json!({"const": "end"}))},
    ]);
    schema::ours(
        schema::nullable(schema),
        "When it stops or ends by itself. What isn't named is the operator's choice.",
    )
}
