//! What people, models and tools say: blocks of text, pictures and documents.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One piece of a message or of a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Plain text.
    Text {
        /// The text, UTF-8.
        text: String,
    },
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
    },
    /// A document such as a PDF or a text file.
    Document {
        /// Where its bytes are.
        source: Source,
        /// A title for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// What the document is about, for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
    },
    /// A result found by a search, which the model may cite.
    SearchResult {
        /// Where it was found.
        source: String,
        /// Its title.
        title: String,
        /// Its passages.
        content: Vec<String>,
        /// Whether the model may cite it.
        citations: bool,
    },
}

impl Block {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The text of a text block.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::Image { .. } | Self::Document { .. } | Self::SearchResult { .. } => None,
        }
    }

    /// The blob this block's bytes are in, if they are in one.
    pub fn blob(&self) -> Option<&BlobId> {
        match self {
            Self::Image { source: Source::Blob { blob, .. } }
            | Self::Document { source: Source::Blob { blob, .. }, .. } => Some(blob),
            Self::Text { .. } | Self::Image { .. } | Self::Document { .. } | Self::SearchResult { .. } => None,
        }
    }
}

/// Where the bytes of a picture or document are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// In the blob store; base64 that came over the wire is decoded and put there first.
    Blob {
        /// The media type, such as `image/png`.
        media_type: String,
        /// Which blob.
        blob: BlobId,
    },
    /// On the web; the model's provider fetches it.
    Url {
        /// An `https` address.
        url: String,
    },
    /// Text given in place.
    Text {
        /// The text.
        data: String,
    },
}

/// The SHA-256 of a blob's bytes, in lower-case hex: its name in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobId(String);

impl BlobId {
    /// The id for a digest of 64 hex digits; `None` for anything else, so an id is always safe as a file name.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let well_formed = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        well_formed.then(|| Self(hex.to_owned()))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
