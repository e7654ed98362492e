//! Content blocks. Bytes in base64 are decoded and set aside; they become blobs before the command is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tenure_core::content::{BlobId, Block, Source};

use crate::problem::Problem;
use crate::request::{Fields, describe};

pub(in super::super) const IMAGE_TYPES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];
pub(in super::super) const DOCUMENT_TYPES: &[&str] = &["application/pdf"];
const IMAGE_BYTES: usize = 5 << 20;
const DOCUMENT_BYTES: usize = 20 << 20;

pub(in super::super) const TITLE: usize = 512;
pub(in super::super) const CONTEXT: usize = 65_536;
pub(in super::super) const URL: usize = 8_192;
pub(in super::super) const RESULT_TITLE: usize = 2_048;

/// The most blocks of one message.
pub(in super::super) const MOST: usize = 1_000;

/// Contents that came with a request, by the blobs they become, in base64 as they came.
pub(crate) type Attached = BTreeMap<BlobId, Arc<str>>;

/// Which blocks may be where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Message,
    ToolResult,
    /// Text alone.
    Instructions,
}

impl Place {
    fn expected(self) -> &'static str {
        match self {
            Self::Message => "`text`, `image` or `document`",
            Self::ToolResult => "`text`, `image`, `document` or `search_result`",
            Self::Instructions => "`text`",
        }
    }
}

/// Reads a list of blocks that was found at `content` in `fields`.
pub(super) fn blocks(
    fields: &mut Fields<'_>,
    list: Vec<Value>,
    place: Place,
    attached: &mut Attached,
) -> Result<Vec<Block>, Problem> {
    let path = fields.at("content");
    if list.len() > MOST {
        return Err(Problem::invalid(&path, format!("expected at most {MOST} blocks, got {}", list.len())));
    }
    let mut blocks = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let mut given = fields.nested(format!("{path}.{at}"), value)?;
        blocks.push(block(&mut given, place, attached)?);
    }
    Ok(blocks)
}

fn block(given: &mut Fields<'_>, place: Place, attached: &mut Attached) -> Result<Block, Problem> {
    let kind = given.required_string("type")?;
    match (kind.as_str(), place) {
        ("text", _) => {
            let text = given.required_string("text")?;
            if text.is_empty() && place != Place::ToolResult {
                return Err(given.wrong("text", "expected some text, got none; leave empty blocks out"));
            }
            Ok(Block::Text { text })
        }
        ("image", Place::Message | Place::ToolResult) => {
            Ok(Block::Image { source: source(given, Bytes::Image, attached)? })
        }
        ("document", Place::Message | Place::ToolResult) => {
            let source = source(given, Bytes::Document, attached)?;
            let title = given.text("title", TITLE)?.value();
            let context = given.text("context", CONTEXT)?.value();
            Ok(Block::Document { source, title, context })
        }
        ("search_result", Place::ToolResult) => search_result(given),
        _ => {
            let kind: String = kind.chars().take(40).collect();
            Err(given.wrong("type", format!("expected {}, got `{kind}`", place.expected())))
        }
    }
}

/// What bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Image,
    Document,
}

fn source(block: &mut Fields<'_>, bytes: Bytes, attached: &mut Attached) -> Result<Source, Problem> {
    let path = block.at("source");
    let value = block.required("source", "an object")?;
    let mut given = block.nested(path, value)?;
    let kind = given.required_string("type")?;
    match (kind.as_str(), bytes) {
        ("base64", _) => base64(&mut given, bytes, attached),
        ("url", _) => {
            let url = given.required_text("url", 1, URL)?;
            if !url.starts_with("https://") {
                return Err(given.wrong("url", "expected an address that begins with `https://`"));
            }
            Ok(Source::Url { url })
        }
        ("text", Bytes::Document) => {
            given.one_of("media_type", &["text/plain"])?;
            Ok(Source::Text { data: given.required_string("data")? })
        }
        ("file", _) => Err(Problem::unsupported(&given.at("type"), "files are")),
        _ => {
            let expected = if bytes == Bytes::Document { "`base64`, `text` or `url`" } else { "`base64` or `url`" };
            let kind: String = kind.chars().take(40).collect();
            Err(given.wrong("type", format!("expected {expected}, got `{kind}`")))
        }
    }
}

fn base64(given: &mut Fields<'_>, bytes: Bytes, attached: &mut Attached) -> Result<Source, Problem> {
    let (types, most) = match bytes {
        Bytes::Image => (IMAGE_TYPES, IMAGE_BYTES),
        Bytes::Document => (DOCUMENT_TYPES, DOCUMENT_BYTES),
    };
    let media_type = given.required_one_of("media_type", types)?.to_owned();
    let data = given.required_string("data")?;
    let decoded = STANDARD
        .decode(data.as_bytes())
        .map_err(|error| given.wrong("data", format!("expected base64 with padding: {error}")))?;
    if decoded.is_empty() || decoded.len() > most {
        let got = decoded.len();
        return Err(given.wrong("data", format!("expected 1 to {most} bytes when decoded, got {got}")));
    }
    let hex: String = Sha256::digest(&decoded).iter().map(|byte| format!("{byte:02x}")).collect();
    let blob = BlobId::from_hex(&hex).ok_or_else(Problem::internal)?;
    attached.insert(blob.clone(), data.into());
    Ok(Source::Blob { media_type, blob })
}

/// Stores what came along, so that a command may name it.
pub(in super::super) async fn store(engine: &tenure_engine::Engine, attached: &Attached) -> Result<(), Problem> {
    for data in attached.values() {
        let bytes = STANDARD.decode(data.as_bytes()).map_err(|_| Problem::internal())?;
        engine.put_blob(bytes).await?;
    }
    Ok(())
}

fn search_result(given: &mut Fields<'_>) -> Result<Block, Problem> {
    let source = given.required_text("source", 1, URL)?;
    let title = given.required_text("title", 0, RESULT_TITLE)?;
    let path = given.at("content");
    let list = match given.required("content", "a list of text blocks")? {
        Value::Array(list) => list,
        other => return Err(given.wrong("content", format!("expected a list, got {}", describe(&other)))),
    };
    let mut content = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let mut passage = given.nested(format!("{path}.{at}"), value)?;
        passage.required_one_of("type", &["text"])?;
        content.push(passage.required_string("text")?);
    }
    let path = given.at("citations");
    let value = given.required("citations", "an object")?;
    let citations = given.nested(path, value)?.bool("enabled")?.value().unwrap_or(false);
    Ok(Block::SearchResult { source, title, content, citations })
}
