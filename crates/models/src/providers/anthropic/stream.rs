//! The stream of `POST /v1/messages`, turned into neutral events.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tenure_core::model::{Failure, FailureKind, ModelStop, TokenUsage};

use crate::draft::{Draft, PartIndex};
use crate::http::{ErrorBody, Server, excerpt};
use crate::provider::Event;
use crate::sse::Frame;

/// What the frames so far amount to.
pub(super) struct Decoder {
    server: Server,
    draft: Draft,
    blocks: HashMap<u32, WireKind>,
    stop: ModelStop,
    usage: TokenUsage,
    started: bool,
}

/// A block that is being sent, and the part it became with its first content.
enum WireKind {
    Text(Option<PartIndex>),
    Thinking(Option<PartIndex>),
    /// A call, with the input it began with: empty when deltas follow, whole from some gateways.
    ToolUse(PartIndex, Map<String, Value>),
    /// A kind of block that isn't shown, such as a server tool's.
    Other,
}

impl Decoder {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            draft: Draft::default(),
            blocks: HashMap::new(),
            stop: ModelStop::EndTurn,
            usage: TokenUsage::default(),
            started: false,
        }
    }

    /// The events of one frame. `None`, the stream's end, is always too early: `message_stop` ends a reply.
    pub(super) fn decode(&mut self, frame: Option<Frame>) -> Result<Vec<Event>, Failure> {
        let Some(frame) = frame else {
            return Err(self.unavailable("the stream was cut off before `message_stop`"));
        };
        let event = serde_json::from_str::<Wire>(&frame.data).map_err(|error| {
            let quoted = excerpt(frame.data.as_bytes());
            self.unavailable(&format!("expected an event of the Messages API, got {quoted}: {error}"))
        })?;
        let mut events = Vec::new();
        match event {
            Wire::MessageStart { message } => {
                message.usage.add_to(&mut self.usage);
                if !std::mem::replace(&mut self.started, true) {
                    events.push(Event::Started);
                }
            }
            Wire::ContentBlockStart { index, content_block } => events.extend(self.start(index, content_block)),
            Wire::ContentBlockDelta { index, delta } => events.extend(self.delta(index, &delta)),
            Wire::ContentBlockStop { index } => self.end(index),
            Wire::MessageDelta { delta, usage } => {
                usage.add_to(&mut self.usage);
                if let Some(reason) = delta.stop_reason {
                    self.stop = stop(&reason, delta.stop_details.unwrap_or_default());
                }
            }
            Wire::MessageStop => {
                let open: Vec<u32> = self.blocks.keys().copied().collect();
                open.into_iter().for_each(|index| self.end(index));
                let draft = std::mem::take(&mut self.draft);
                events.push(Event::Finished(draft.finish(self.stop.clone(), self.usage)));
            }
            Wire::Error { error } => {
                let error = ErrorBody::of(&error).unwrap_or_default();
                return Err(self.server.refused(&error, None, None));
            }
            Wire::Ping | Wire::Unknown => {}
        }
        Ok(events)
    }

    fn start(&mut self, index: u32, block: WireBlock) -> Option<Event> {
        let mut event = None;
        let kind = match block {
            WireBlock::Text { text } => {
                let mut part = None;
                event = self.draft.text(&mut part, &text);
                WireKind::Text(part)
            }
            WireBlock::Thinking { thinking, signature } => {
                let mut part = None;
                event = self.draft.thinking(&mut part, &thinking);
                self.draft.signature(&mut part, &signature);
                WireKind::Thinking(part)
            }
            WireBlock::RedactedThinking { data } => {
                self.draft.redacted_thinking(data);
                WireKind::Other
            }
            WireBlock::ToolUse { name, input } => {
                WireKind::ToolUse(self.draft.tool_use(name), input.unwrap_or_default())
            }
            WireBlock::Unknown => WireKind::Other,
        };
        self.blocks.insert(index, kind);
        event
    }

    fn delta(&mut self, index: u32, delta: &WireDelta) -> Option<Event> {
        match (self.blocks.get_mut(&index)?, delta) {
            (WireKind::Text(part), WireDelta::TextDelta { text }) => self.draft.text(part, text),
            (WireKind::Thinking(part), WireDelta::ThinkingDelta { thinking }) => self.draft.thinking(part, thinking),
            (WireKind::Thinking(part), WireDelta::SignatureDelta { signature }) => {
                self.draft.signature(part, signature);
                None
            }
            (WireKind::ToolUse(part, _), WireDelta::InputJsonDelta { partial_json }) => {
                self.draft.tool_input(*part, partial_json);
                None
            }
            _ => None,
        }
    }

    fn end(&mut self, index: u32) {
        if let Some(WireKind::ToolUse(part, input)) = self.blocks.remove(&index)
            && self.draft.tool_json(part).is_empty()
        {
            self.draft.tool_input(part, &Value::Object(input).to_string());
        }
    }

    fn unavailable(&self, what: &str) -> Failure {
        self.server.failure(FailureKind::Unavailable, what)
    }
}

fn stop(reason: &str, details: StopDetails) -> ModelStop {
    match reason {
        "end_turn" | "stop_sequence" => ModelStop::EndTurn,
        "tool_use" => ModelStop::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => ModelStop::MaxTokens,
        "pause_turn" => ModelStop::Pause,
        "refusal" => ModelStop::Refusal { category: details.category, explanation: details.explanation },
        other => {
            tracing::warn!(reason = other, "unknown stop reason taken for the turn's end");
            ModelStop::EndTurn
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire {
    MessageStart {
        message: WireMessage,
    },
    ContentBlockStart {
        index: u32,
        content_block: WireBlock,
    },
    ContentBlockDelta {
        index: u32,
        delta: WireDelta,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: MessageDelta,
        #[serde(default)]
        usage: WireUsage,
    },
    MessageStop,
    Ping,
    Error {
        error: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct WireMessage {
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireBlock {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        name: String,
        input: Option<Map<String, Value>>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireDelta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
}

#[derive(Default, Deserialize)]
struct StopDetails {
    category: Option<String>,
    explanation: Option<String>,
}

/// Counts so far; a later one replaces an earlier one, and one that is left out stays.
#[derive(Default, Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_5m_input_tokens: u64,
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

impl WireUsage {
    fn add_to(self, usage: &mut TokenUsage) {
        let replace = |field: &mut u64, count: Option<u64>| *field = count.unwrap_or(*field);
        replace(&mut usage.input, self.input_tokens);
        replace(&mut usage.output, self.output_tokens);
        replace(&mut usage.cache_read, self.cache_read_input_tokens);
        match (self.cache_creation, self.cache_creation_input_tokens) {
            (Some(split), _) => {
                usage.cache_write_5m = split.ephemeral_5m_input_tokens;
                usage.cache_write_1h = split.ephemeral_1h_input_tokens;
            }
            // The total without its split, as `message_delta` sends it: the hour's share is known from before.
            (None, Some(total)) => usage.cache_write_5m = total.saturating_sub(usage.cache_write_1h),
            (None, None) => {}
        }
    }
}
