//! Events, and the previews that only streams have.

use serde::Serialize;
use serde_json::Value;
use tenure_core::id::{ItemId, ThreadId};
use tenure_core::session::Metadata;

use super::{AgentCore, Block, Id, Nothing, Time};

/// One event.
#[derive(Debug, Serialize)]
pub(crate) struct Event<'a> {
    pub(crate) id: Id<ItemId>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Null while queued.
    pub(crate) processed_at: Option<Time>,
    #[serde(flatten)]
    pub(crate) body: Body<'a>,
}

/// What an event has beside its id, type and time.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Body<'a> {
    Empty {},
    Content {
        content: Vec<Block<'a>>,
    },
    /// Ours is the mark.
    Withdrawn {
        content: Vec<Block<'a>>,
        withdrawn: bool,
    },
    Interrupt {
        #[serde(skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<Id<ThreadId>>,
    },
    Confirmation {
        tool_use_id: Id<ItemId>,
        result: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        deny_message: Option<&'a str>,
    },
    ClientResult {
        custom_tool_use_id: Id<ItemId>,
        content: Vec<Block<'a>>,
        is_error: bool,
    },
    /// The text is ours: the peer's event is a signal only.
    Thinking {
        #[serde(skip_serializing_if = "Option::is_none")]
        thinking: Option<&'a str>,
    },
    ToolUse {
        name: &'a str,
        input: &'a Value,
        evaluated_permission: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        evaluation: Option<super::Policy>,
    },
    CustomToolUse {
        name: &'a str,
        input: &'a Value,
    },
    ToolResult {
        tool_use_id: Id<ItemId>,
        content: Vec<Block<'a>>,
        is_error: bool,
    },
    Idle {
        stop_reason: StopReason<'a>,
        stop_details: Option<Refusal<'a>>,
    },
    Thread {
        session_thread_id: Id<ThreadId>,
        agent_name: &'a str,
    },
    ThreadIdle {
        session_thread_id: Id<ThreadId>,
        agent_name: &'a str,
        stop_reason: StopReason<'a>,
        stop_details: Option<Refusal<'a>>,
    },
    Usage {
        usage: Usage,
        budget: Nothing,
    },
    SpanEnd {
        model_request_start_id: Id<ItemId>,
        is_error: bool,
        model_usage: SpanUsage,
    },
    Failed {
        error: Error<'a>,
    },
    Updated {
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Option<&'a str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<&'a Metadata>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<Box<AgentCore<'a>>>,
    },
    /// Ours: what happened to a sandbox.
    Sandbox {
        sandbox: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// Ours: something happened to another event's item.
    About {
        event_id: Id<ItemId>,
    },
    /// Ours: what a death of the server cut off is taken up.
    Recovered {
        fruitless: u32,
    },
    /// Ours: the session is about to end.
    Closing {
        outcome: &'static str,
        keep: &'static str,
    },
}

/// Why work stopped.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StopReason<'a> {
    EndTurn,
    RequiresAction { event_ids: Vec<Id<&'a ItemId>> },
    RetriesExhausted,
    Refusal,
}

impl Serialize for Id<&ItemId> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Id(*self.0).serialize(serializer)
    }
}

/// Why a model refused.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) category: Option<&'a str>,
    pub(crate) explanation: Option<&'a str>,
}

/// What a session has used.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
    pub(crate) cache_creation: CacheCreation,
    pub(crate) active_seconds: f64,
}

/// Tokens written to a cache, by how long it lasts.
#[derive(Debug, Serialize)]
pub(crate) struct CacheCreation {
    pub(crate) ephemeral_5m_input_tokens: u64,
    pub(crate) ephemeral_1h_input_tokens: u64,
}

/// What one model request took.
#[derive(Debug, Serialize)]
pub(crate) struct SpanUsage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cache_creation_input_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
}

/// Something that failed.
#[derive(Debug, Serialize)]
pub(crate) struct Error<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) message: std::borrow::Cow<'a, str>,
    pub(crate) retry_status: super::agent::Tagged,
}

/// A piece of an event that isn't finished.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Preview<'a> {
    #[serde(rename = "event_start")]
    Start { event: PreviewedEvent },
    #[serde(rename = "event_delta")]
    Delta { event_id: Id<ItemId>, delta: PreviewDelta<'a> },
}

/// Which event is previewed.
#[derive(Debug, Serialize)]
pub(crate) struct PreviewedEvent {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) id: Id<ItemId>,
}

/// More of its content.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "content_delta")]
pub(crate) struct PreviewDelta<'a> {
    pub(crate) index: u32,
    pub(crate) content: PreviewText<'a>,
}

/// The text to add.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "text")]
pub(crate) struct PreviewText<'a> {
    pub(crate) text: &'a str,
}
