//! Words for the schemas of requests, in JSON Schema 2020-12. Requests are read by hand, field by field
//! ([`crate::request::Fields`]); each function here says what one of its methods takes.

use serde_json::{Map, Value, json};

/// An object with these fields, the first of which have to be there. What else it has is ignored.
pub(crate) fn object<const R: usize, const O: usize>(
    required: [(&str, Value); R],
    optional: [(&str, Value); O],
) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    let fields = required.into_iter().chain(optional);
    let properties: Map<String, Value> = fields.map(|(name, schema)| (name.to_owned(), schema)).collect();
    let mut object = json!({"type": "object", "properties": properties});
    if !names.is_empty() {
        object["required"] = names.into();
    }
    object
}

/// An object of this type, as its field `type` says.
pub(crate) fn tagged<const R: usize, const O: usize>(
    kind: &str,
    required: [(&str, Value); R],
    optional: [(&str, Value); O],
) -> Value {
    let mut schema = object(required, optional);
    schema["properties"]["type"] = json!({"const": kind});
    match schema.get_mut("required") {
        Some(Value::Array(names)) => names.insert(0, "type".into()),
        _ => schema["required"] = json!(["type"]),
    }
    schema
}

/// A text of so many characters.
pub(crate) fn text(shortest: usize, longest: usize) -> Value {
    match shortest {
        0 => json!({"type": "string", "maxLength": longest}),
        _ => json!({"type": "string", "minLength": shortest, "maxLength": longest}),
    }
}

/// A whole number within bounds, both included.
pub(crate) fn integer(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// One of these words.
pub(crate) fn one_of(words: &[&str]) -> Value {
    json!({"enum": words})
}

pub(crate) fn list(items: Value, fewest: usize, most: usize) -> Value {
    match fewest {
        0 => json!({"type": "array", "items": items, "maxItems": most}),
        _ => json!({"type": "array", "items": items, "minItems": fewest, "maxItems": most}),
    }
}

/// Or null, which means the same as leaving it out, unless said otherwise.
pub(crate) fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// What the API has and this server doesn't yet: absent, null and empty are accepted.
pub(crate) fn not_yet(what: &str) -> Value {
    json!({"enum": [null, [], {}, ""], "description": format!("{what} not supported yet; null or empty is accepted.")})
}

/// What must not be there.
pub(crate) fn refused(why: &str) -> Value {
    json!({"not": {}, "description": why})
}

/// The same, with a description.
pub(crate) fn said(mut schema: Value, doc: &str) -> Value {
    schema["description"] = doc.into();
    schema
}

/// Tenure's own.
pub(crate) fn ours(schema: Value, doc: &str) -> Value {
    let mut schema = said(schema, doc);
    schema["x-tenure"] = true.into();
    schema
}

/// An id in any form that Tenure prints: base58, 32 hex digits or a UUID, with or without a prefix of its kind.
pub(crate) fn id(prefix: &str) -> Value {
    let digits = "[1-9A-HJ-NP-Za-km-z]{22}|[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
    json!({"type": "string", "pattern": format!("^(({prefix})_)?({digits})$")})
}
