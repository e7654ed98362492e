//! Content blocks. What is in a blob is printed in base64, as the client sent it.

use tenure_core::content::{Block, Source};

use super::super::ingest::Attached;
use super::super::wire::{self, Citations, Text};

/// Blocks, with the contents of their blobs from `attached`.
pub(super) fn blocks<'a>(content: &'a [Block], attached: &'a Attached) -> Vec<wire::Block<'a>> {
    content.iter().map(|block| print(block, attached)).collect()
}

fn print<'a>(block: &'a Block, attached: &'a Attached) -> wire::Block<'a> {
    match block {
        Block::Text { text } => wire::Block::Text { text },
        Block::Image { source } => wire::Block::Image { source: print_source(source, attached) },
        Block::Document { source, title, context } => wire::Block::Document {
            source: print_source(source, attached),
            title: title.as_deref(),
            context: context.as_deref(),
        },
        Block::SearchResult { source, title, content, citations } => wire::Block::SearchResult {
            source,
            title,
            content: content.iter().map(|text| Text { kind: "text", text }).collect(),
            citations: Citations { enabled: *citations },
        },
    }
}

fn print_source<'a>(source: &'a Source, attached: &'a Attached) -> wire::Source<'a> {
    match source {
        Source::Blob { media_type, blob } => {
            wire::Source::Base64 { media_type, data: attached.get(blob).map_or("", |data| data) }
        }
        Source::Url { url } => wire::Source::Url { url },
        Source::Text { data } => wire::Source::Text { media_type: "text/plain", data },
    }
}
