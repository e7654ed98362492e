//! What is sent to a model and what comes back, in terms no provider owns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::{BlobId, Block};
use crate::id::ItemId;

/// One request to a model. Its provider turns it into that provider's wire form.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Which model and how it is to think.
    pub model: ModelConfig,
    /// The system prompt.
    pub system: Option<String>,
    /// The conversation, oldest first; it starts with a user message and every tool use has its result.
    pub messages: Vec<Arc<Message>>,
    /// The tools the model may call.
    pub tools: Vec<ToolSpec>,
    /// Bytes of the blobs that `messages` name.
    pub attachments: BTreeMap<BlobId, Arc<[u8]>>,
}

/// A model and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The name that routes to a provider: `claude-…`, `openai/<model>`, `script/<name>`.
    pub id: String,
    /// How hard to think; `None` is the model's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Standard or fast.
    #[serde(default)]
    pub speed: Speed,
    /// Where inference may run, in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// Sampling temperature; `None` is the model's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens of one reply; `None` is the provider's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

impl ModelConfig {
    /// The model of that name with its own defaults.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            effort: None,
            speed: Speed::Standard,
            inference_geo: None,
            temperature: None,
            max_tokens: None,
        }
    }
}

/// How hard a model is to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the whole meaning, in rising order")]
pub enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// Which serving speed to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// The ordinary one.
    #[default]
    Standard,
    /// Faster, at a higher price, where the provider has it.
    Fast,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person, or a tool's result.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text, a picture, or a document.
    Content {
        /// The block.
        block: Block,
    },
    /// Instructions of whoever runs the agent, in a user's message. They come after all else of it, in a message of their
    /// own where the provider has that.
    System {
        /// The text.
        text: String,
    },
    /// The model's thinking, to be sent back unchanged.
    Thinking {
        /// The text, possibly empty when the provider hides it.
        text: String,
        /// The provider's proof that the text is its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Thinking the provider encrypted.
    RedactedThinking {
        /// The provider's opaque data.
        data: String,
    },
    /// The model calls a tool. The call is named by its item, not by the provider's own id.
    ToolUse {
        /// The call.
        call: ItemId,
        /// The tool's name.
        name: String,
        /// Its input, a JSON object.
        input: Value,
    },
    /// What a tool call gave.
    ToolResult {
        /// The call.
        call: ItemId,
        /// Its result.
        content: Vec<Block>,
        /// Whether the call failed.
        is_error: bool,
    },
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name the model calls it by.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input, an object.
    pub input_schema: Value,
}

/// A model's whole reply to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What it said, in order.
    pub parts: Vec<ReplyPart>,
    /// Why it stopped.
    pub stop: ModelStop,
    /// The tokens it took.
    pub usage: TokenUsage,
}

/// One part of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyPart {
    /// Text.
    Text(String),
    /// Thinking, with the provider's signature.
    Thinking {
        /// The text.
        text: String,
        /// The signature.
        signature: Option<String>,
    },
    /// Thinking the provider encrypted.
    RedactedThinking(String),
    /// A tool call.
    ToolUse {
        /// The tool's name.
        name: String,
        /// The input: a JSON object, or what the model wrote in its place.
        input: Result<Value, MalformedInput>,
    },
}

/// A tool input that is no JSON object. The model is told so in the call's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedInput {
    /// What the model wrote.
    pub raw: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelStop {
    /// It was done.
    EndTurn,
    /// It wants tools run.
    ToolUse,
    /// It reached the most tokens of a reply.
    MaxTokens,
    /// The provider paused a long turn; asking again continues it.
    Pause,
    /// It refused.
    Refusal {
        /// The provider's category.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<String>,
        /// The provider's explanation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<String>,
    },
}

/// Tokens of one or more model requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Uncached input.
    #[serde(default)]
    pub input: u64,
    /// Output, thinking included.
    #[serde(default)]
    pub output: u64,
    /// Input read from the provider's cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Input written to the cache for five minutes.
    #[serde(default)]
    pub cache_write_5m: u64,
    /// Input written to the cache for an hour.
    #[serde(default)]
    pub cache_write_1h: u64,
}

impl TokenUsage {
    /// What it read and wrote, all together.
    pub fn total(self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }

    /// Adds the tokens of another request.
    pub fn add(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write_5m += other.cache_write_5m;
        self.cache_write_1h += other.cache_write_1h;
    }
}

/// A model request that gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure, which decides whether it is tried again.
    pub kind: FailureKind,
    /// For a person: what was expected, what came. Never holds a secret.
    pub message: String,
    /// How long the provider asks to wait.
    #[serde(default, with = "crate::time::millis::option", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

/// What a caller can do about a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider has no capacity (529, 503): try again.
    Overloaded,
    /// Too many requests (429): try again when it says.
    RateLimited,
    /// No connection, a cut stream, a time-out, a 5xx, or an answer that isn't the protocol: try again.
    Unavailable,
    /// The provider rejects the key (401, 403): an operator must act.
    Authentication,
    /// The account can't pay (402): an operator must act.
    Billing,
    /// The provider rejects the request (400, 404, an unknown model): the same request will fail again.
    Rejected,
    /// The provider finds the conversation too long (a 400 of its own, 413): a shorter one may succeed.
    TooLong,
}

impl FailureKind {
    /// Whether the same request may succeed later without anybody's help.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Overloaded | Self::RateLimited | Self::Unavailable => true,
            Self::Authentication | Self::Billing | Self::Rejected | Self::TooLong => false,
        }
    }
}
