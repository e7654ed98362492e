//! Content blocks in requests.

use serde_json::{Value, json};

use super::super::ingest::content::{CONTEXT, DOCUMENT_TYPES, IMAGE_TYPES, MOST, RESULT_TITLE, TITLE, URL};
use crate::openapi::{Schemas, schema};

/// The blocks of a message.
pub(super) fn message(schemas: &mut Schemas) -> Value {
    let text = schema::tagged("text", [("text", json!({"type": "string", "minLength": 1}))], []);
    let text = schemas.named("TextParam", text);
    schema::list(json!({"anyOf": [text, image(schemas), document(schemas)]}), 1, MOST)
}

/// The blocks of a `system.message`.
pub(super) fn instructions(schemas: &mut Schemas) -> Value {
    let text = schema::tagged("text", [("text", json!({"type": "string", "minLength": 1}))], []);
    schema::list(schemas.named("TextParam", text), 1, MOST)
}

/// The blocks of a tool's result.
pub(super) fn result(schemas: &mut Schemas) -> Value {
    let text = schemas.named("ResultTextParam", plain_text());
    let blocks = json!({"anyOf": [text, image(schemas), document(schemas), search_result(schemas)]});
    schema::nullable(schema::list(blocks, 0, MOST))
}

fn plain_text() -> Value {
    schema::tagged("text", [("text", json!({"type": "string"}))], [])
}

fn image(schemas: &mut Schemas) -> Value {
    let source = json!({"anyOf": [base64(IMAGE_TYPES, 5), url()]});
    schemas.named("ImageParam", schema::tagged("image", [("source", source)], []))
}

fn document(schemas: &mut Schemas) -> Value {
    let media_type = json!({"enum": ["text/plain", null]});
    let text = schema::tagged("text", [("data", json!({"type": "string"}))], [("media_type", media_type)]);
    let source = json!({"anyOf": [base64(DOCUMENT_TYPES, 20), url(), text]});
    let optional =
        [("title", schema::nullable(schema::text(0, TITLE))), ("context", schema::nullable(schema::text(0, CONTEXT)))];
    schemas.named("DocumentParam", schema::tagged("document", [("source", source)], optional))
}

fn search_result(schemas: &mut Schemas) -> Value {
    let citations = schema::object([], [("enabled", schema::nullable(json!({"type": "boolean"})))]);
    let required = [
        ("source", schema::text(1, URL)),
        ("title", schema::text(0, RESULT_TITLE)),
        ("content", json!({"type": "array", "items": plain_text()})),
        ("citations", citations),
    ];
    schemas.named("SearchResultParam", schema::tagged("search_result", required, []))
}

fn base64(media_types: &[&str], mib: usize) -> Value {
    let data = json!({
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$",
        "description": format!("Base64 with padding, at most {mib} MiB when decoded."),
    });
    schema::tagged("base64", [("media_type", schema::one_of(media_types)), ("data", data)], [])
}

fn url() -> Value {
    schema::tagged("url", [("url", json!({"type": "string", "maxLength": URL, "pattern": "^https://"}))], [])
}
