//! What a call gave, as facts hold it.

use tenure_core::command::CallResult;
use tenure_core::content::{Block, Source};
use tenure_tools::{ToolContent, ToolResult};

use crate::engine::Shared;

/// The result, its pictures and documents put where facts can name them.
pub(super) async fn stored(shared: &Shared, result: ToolResult) -> CallResult {
    let mut content = Vec::with_capacity(result.content.len());
    for piece in result.content {
        content.push(match piece {
            ToolContent::Text(text) => Block::text(text),
            ToolContent::Image { media_type, bytes } => match shared.store.put_blob(bytes).await {
                Ok(blob) => Block::Image { source: Source::Blob { media_type, blob } },
                Err(error) => return finished(format!("the picture can't be stored: {error}"), true),
            },
            ToolContent::Document { media_type, bytes } => match shared.store.put_blob(bytes).await {
                Ok(blob) => Block::Document { source: Source::Blob { media_type, blob }, title: None, context: None },
                Err(error) => return finished(format!("the document can't be stored: {error}"), true),
            },
        });
    }
    CallResult::Finished { content, is_error: result.is_error }
}

/// A result of words alone.
pub(super) fn finished(text: String, is_error: bool) -> CallResult {
    CallResult::Finished { content: vec![Block::text(text)], is_error }
}
