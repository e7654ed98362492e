//! The providers, one folder each.

pub(crate) mod anthropic;
pub(crate) mod openai;
pub(crate) mod script;

use tenure_core::content::{BlobId, Source};
use tenure_core::model::{Failure, FailureKind, Request};

use crate::http::failure;

/// The bytes of a blob that the conversation names.
fn attachment<'r>(request: &'r Request, blob: &BlobId) -> Result<&'r [u8], Failure> {
    let bytes = request.attachments.get(blob).map(|bytes| &**bytes);
    bytes.ok_or_else(|| failure(FailureKind::Rejected, format!("the bytes of blob {blob} were not attached")))
}

/// The text of a document that is text.
fn document_text<'r>(request: &'r Request, source: &'r Source) -> Result<Option<std::borrow::Cow<'r, str>>, Failure> {
    match source {
        Source::Text { data } => Ok(Some(data.as_str().into())),
        Source::Blob { media_type, blob } if is_text(media_type) => {
            Ok(Some(String::from_utf8_lossy(attachment(request, blob)?)))
        }
        Source::Blob { .. } | Source::Url { .. } => Ok(None),
    }
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || matches!(media_type, "application/json" | "application/xml" | "application/yaml")
}

/// What the model reads in place of a block it can't be shown, so that it can say so instead of guessing.
fn cannot_show(what: &str, source: &Source) -> String {
    match source {
        Source::Blob { media_type, .. } => {
            format!("[A {what} of type {media_type} was given here; it can't be shown to this model.]")
        }
        Source::Url { url } => format!("[A {what} at {url} was given here; it can't be shown to this model.]"),
        Source::Text { .. } => format!("[A {what} was given here; it can't be shown to this model.]"),
    }
}
