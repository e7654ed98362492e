//! Content blocks.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

/// One block.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        #[schemars(schema_with = "image_source")]
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'a str>,
    },
    SearchResult {
        source: &'a str,
        title: &'a str,
        content: Vec<Text<'a>>,
        citations: Citations,
    },
}

/// Where bytes are.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Source<'a> {
    Base64 {
        media_type: &'a str,
        data: &'a str,
    },
    Url {
        url: &'a str,
    },
    Text {
        #[schemars(extend("const" = "text/plain"))]
        media_type: &'static str,
        data: &'a str,
    },
}

/// An image is never a text.
fn image_source(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Source::json_schema(generator);
    if let Some(Value::Array(kinds)) = schema.get_mut("oneOf") {
        kinds.retain(|kind| kind["properties"]["type"]["const"] != "text");
    }
    schema
}

/// A text block where only texts may be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Text<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "text"))]
    pub(crate) kind: &'static str,
    pub(crate) text: &'a str,
}

/// Whether a passage may be cited.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Citations {
    pub(crate) enabled: bool,
}
