//! Models in requests.

use serde_json::{Value, json};

use super::super::ingest::model::{GEO, NAME};
use super::super::wire::EFFORTS;
use crate::openapi::{Schemas, schema};

/// A model: its name, or an object with settings.
pub(super) fn model(schemas: &mut Schemas) -> Value {
    let mut name = schema::text(1, NAME);
    name["pattern"] = r"^[^\u0000-\u001f\u007f-\u009f]*$".into();
    let effort = json!({"anyOf": [
        schema::one_of(EFFORTS),
        schema::object([("type", schema::one_of(EFFORTS))], []),
        {"type": "null"},
    ]});
    let temperature = json!({"type": "number", "minimum": 0, "maximum": 2});
    let fields = [
        ("effort", schema::said(effort, "Left out in a change, it stays as it is unless the model is another.")),
        ("speed", schema::nullable(schema::one_of(&["standard", "fast"]))),
        ("inference_geo", schema::nullable(schema::text(0, GEO))),
        ("temperature", schema::ours(schema::nullable(temperature), "Within the model's own range.")),
        (
            "max_tokens",
            schema::ours(schema::nullable(schema::integer(1, u64::from(u32::MAX))), "The most tokens of one reply."),
        ),
    ];
    let settings = schema::object([("id", name.clone())], fields);
    schemas.named("ModelParam", json!({"anyOf": [name, settings]}))
}
