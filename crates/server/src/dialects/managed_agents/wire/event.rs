//! Events, and the previews that only streams have.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};
use tenure_core::id::{ItemId, ThreadId};
use tenure_core::session::{Labels, Metadata};

use super::{AgentCore, Block, Budget, Id, Limits, Money, Time, any_object};

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
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Body<'a> {
    Empty {},
    Content {
        content: Vec<Block<'a>>,
    },
    Message {
        content: Vec<Block<'a>>,
        /// Ours: when it is read, if the session was working. Not there: after the turn.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("enum" = ["steer"]))]
        delivery: Option<&'static str>,
        /// Ours: the question that it answers. Its `user.custom_tool_result` follows.
        #[serde(skip_serializing_if = "Option::is_none")]
        answers: Option<Id<ItemId>>,
        /// Ours: whether it was taken back before its turn came, and never read.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        #[schemars(default)]
        withdrawn: bool,
    },
    SystemMessage {
        content: Vec<Block<'a>>,
        /// Ours: whether it was taken back before its turn came, and never read.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        #[schemars(default)]
        withdrawn: bool,
    },
    Interrupt {
        #[serde(skip_serializing_if = "Option::is_none")]
        session_thread_id: Option<Id<ThreadId>>,
    },
    Confirmation {
        tool_use_id: Id<ItemId>,
        #[schemars(extend("enum" = ["allow", "deny"]))]
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
        /// Ours: what the model thought, where its provider shows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        thinking: Option<&'a str>,
    },
    /// The text is ours: the peer's event is a signal only.
    Compacted {
        /// Ours: what the model wrote in place of what it isn't sent any more; null if that was left out without a summary.
        summary: Option<&'a str>,
    },
    ToolUse {
        name: &'a str,
        #[schemars(schema_with = "any_object")]
        input: &'a Value,
        #[schemars(extend("enum" = ["allow", "ask", "deny"]))]
        evaluated_permission: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "policy")]
        evaluation: Option<super::Policy>,
    },
    CustomToolUse {
        name: &'a str,
        #[schemars(schema_with = "any_object")]
        input: &'a Value,
        /// Ours: whether it is a question of the built-in tool `ask`, which a person is to answer.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        #[schemars(default)]
        question: bool,
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
        budget: Option<Budget>,
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
        /// Ours: its labels.
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<&'a Labels>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<Box<AgentCore<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        budget: Option<Option<Budget>>,
        /// Ours: the limits of its sandbox that are set; null is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        limits: Option<Option<Box<Limits>>>,
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
    /// Ours: a snapshot of the files is being taken.
    SnapshotStarted {
        snapshot_id: String,
        /// The place in the log of the turn's end it belongs to; not there: it belongs to this very event.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn_end: Option<u64>,
        /// Its name, if somebody asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
    },
    /// Ours: a snapshot was taken, or won't be.
    SnapshotEnded {
        snapshot_id: String,
        #[schemars(extend("enum" = HOW_TAKEN))]
        how: &'static str,
        /// Bytes that were copied, or would have had to be.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// Why there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// Ours: a snapshot isn't kept any longer.
    SnapshotRemoved {
        snapshot_id: String,
    },
    /// Ours: the session goes on from an earlier place.
    Rewound {
        /// That place in the log.
        to: u64,
        /// What the files go back to; null: what a session starts with.
        snapshot_id: Option<String>,
    },
    /// Ours: the files are what they were there.
    FilesRewound {
        /// Why they aren't.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<&'a str>,
    },
    /// Ours: the session was made from another.
    Forked {
        forked_from: super::ForkedFrom,
    },
    /// Ours: the session is about to end.
    Closing {
        #[schemars(extend("enum" = ["completed", "ended_by_user", "timed_out", "archived", "failed"]))]
        outcome: &'static str,
        #[schemars(extend("enum" = ["everything", "log"]))]
        keep: &'static str,
    },
}

/// How the taking of a snapshot may end.
pub(crate) const HOW_TAKEN: [&str; 5] = ["sealed", "copied", "reused", "skipped", "failed"];

fn policy(_: &mut SchemaGenerator) -> Schema {
    super::Tagged::schema(&["always_allow", "always_ask"])
}

/// Why work stopped.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StopReason<'a> {
    EndTurn,
    RequiresAction { event_ids: Vec<Id<&'a ItemId>> },
    RetriesExhausted,
    BudgetReached,
    Refusal,
}

impl JsonSchema for Id<&ItemId> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Id::<ItemId>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Id::<ItemId>::json_schema(generator)
    }
}

impl Serialize for Id<&ItemId> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Id(*self.0).serialize(serializer)
    }
}

/// Why a model refused.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Refusal<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "refusal"))]
    pub(crate) kind: &'static str,
    #[schemars(extend("enum" = refusals()))]
    pub(crate) category: Option<&'a str>,
    pub(crate) explanation: Option<&'a str>,
}

/// The categories of refusals that the peer knows.
pub(crate) const REFUSALS: [&str; 5] = ["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"];

fn refusals() -> Vec<Value> {
    REFUSALS.iter().map(|category| json!(category)).chain([Value::Null]).collect()
}

/// What a session has used.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
    pub(crate) cache_creation: CacheCreation,
    pub(crate) server_tool_use: ServerToolUse,
    pub(crate) active_seconds: f64,
    /// What all of it costs at list prices, rounded up; absent if nobody knows the price of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) list_cost: Option<Money>,
}

/// How often the server used tools that it runs itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServerToolUse {
    pub(crate) web_fetch_requests: u64,
    pub(crate) web_search_requests: u64,
}

/// Tokens written to a cache, by how long it lasts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CacheCreation {
    pub(crate) ephemeral_5m_input_tokens: u64,
    pub(crate) ephemeral_1h_input_tokens: u64,
}

/// What one model request took.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SpanUsage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cache_creation_input_tokens: u64,
    pub(crate) cache_read_input_tokens: u64,
}

/// Something that failed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SessionError")]
pub(crate) struct Error<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ERRORS))]
    pub(crate) kind: &'static str,
    pub(crate) message: std::borrow::Cow<'a, str>,
    #[schemars(schema_with = "retry_status")]
    pub(crate) retry_status: super::agent::Tagged,
}

/// The types of errors that are told.
const ERRORS: [&str; 6] = [
    "unknown_error",
    "model_overloaded_error",
    "model_rate_limited_error",
    "model_request_failed_error",
    "billing_error",
    "tool_use_limit_reached_error",
];

fn retry_status(_: &mut SchemaGenerator) -> Schema {
    super::Tagged::schema(&["retrying", "exhausted"])
}

/// A piece of an event that isn't finished.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub(crate) enum Preview<'a> {
    #[serde(rename = "event_start")]
    Start { event: PreviewedEvent },
    #[serde(rename = "event_delta")]
    Delta { event_id: Id<ItemId>, delta: PreviewDelta<'a> },
}

/// Which event is previewed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PreviewedEvent {
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["agent.message", "agent.thinking"]))]
    pub(crate) kind: &'static str,
    pub(crate) id: Id<ItemId>,
}

/// The tag of a struct, which the derivation leaves out.
fn tag(schema: &mut Schema, kind: &str) {
    let map = schema.ensure_object();
    map.entry("properties").or_insert_with(|| json!({}))["type"] = json!({"const": kind});
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.push("type".into());
    }
}

fn is_content_delta(schema: &mut Schema) {
    tag(schema, "content_delta");
}

fn is_text(schema: &mut Schema) {
    tag(schema, "text");
}

/// More of its content.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "content_delta")]
#[schemars(inline, transform = is_content_delta)]
pub(crate) struct PreviewDelta<'a> {
    pub(crate) index: u32,
    pub(crate) content: PreviewText<'a>,
}

/// The text to add.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "text")]
#[schemars(inline, transform = is_text)]
pub(crate) struct PreviewText<'a> {
    pub(crate) text: &'a str,
}
