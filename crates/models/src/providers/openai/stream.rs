//! The stream of `POST /chat/completions`, turned into neutral events.
//!
//! Servers differ in almost everything that isn't text. Seen in the wild and handled here: calls without an index
//! (Ollama, <https://github.com/ollama/ollama/issues/7881>), calls that all have index 0, without an id, whole in one
//! chunk, with arguments as an object; reasoning as `reasoning_content` (vLLM, llama.cpp, DeepSeek) or `reasoning`
//! (Ollama, newer vLLM); usage in a chunk without choices, or in the last chunk; `finish_reason` `stop` although tools are
//! called; no `[DONE]`; a whole message in place of deltas; errors as chunks.

use serde::Deserialize;
use serde_json::Value;
use tenure_core::model::{Failure, FailureKind, ModelStop, TokenUsage};

use crate::draft::{Draft, PartIndex};
use crate::http::{ErrorBody, Server, excerpt};
use crate::provider::Event;
use crate::sse::Frame;

/// What the frames so far amount to.
pub(super) struct Decoder {
    server: Server,
    draft: Draft,
    started: bool,
    text: Option<PartIndex>,
    reasoning: Option<PartIndex>,
    calls: Vec<Call>,
    refusal: String,
    finish_reason: Option<String>,
    usage: TokenUsage,
}

/// A tool call that is being sent.
struct Call {
    part: PartIndex,
    index: Option<u32>,
    id: Option<String>,
}

impl Decoder {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            draft: Draft::default(),
            started: false,
            text: None,
            reasoning: None,
            calls: Vec::new(),
            refusal: String::new(),
            finish_reason: None,
            usage: TokenUsage::default(),
        }
    }

    /// The events of one frame, or of the stream's end: the reply ends with `[DONE]`, or without it when a finish
    /// reason came before.
    pub(super) fn decode(&mut self, frame: Option<Frame>) -> Result<Vec<Event>, Failure> {
        let Some(frame) = frame else {
            let finished = self.finish_reason.is_some();
            return if finished {
                self.finish()
            } else {
                Err(self.unavailable("the stream was cut off before the reply's end"))
            };
        };
        if frame.data.trim() == "[DONE]" {
            let empty = self.finish_reason.is_none() && self.draft.is_empty();
            return if empty { Err(self.unavailable("the reply is empty")) } else { self.finish() };
        }
        let value = serde_json::from_str::<Value>(&frame.data).map_err(|error| self.not_a_chunk(&frame, &error))?;
        let error =
            ErrorBody::find(&value).or_else(|| if frame.event == "error" { ErrorBody::of(&value) } else { None });
        if let Some(error) = error {
            return Err(self.server.refused(&error, None, None));
        }
        let chunk = serde_json::from_value::<Chunk>(value).map_err(|error| self.not_a_chunk(&frame, &error))?;
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            events.push(Event::Started);
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage.into();
        }
        // One reply was asked for; more choices than that would be other replies.
        let choice = chunk.choices.unwrap_or_default().into_iter().find(|choice| choice.index.unwrap_or(0) == 0);
        if let Some(choice) = choice {
            if let Some(delta) = choice.delta.or(choice.message) {
                self.delta(delta, &mut events);
            }
            let reason = choice.finish_reason.filter(|reason| !reason.is_empty());
            self.finish_reason = reason.or(self.finish_reason.take());
        }
        Ok(events)
    }

    fn delta(&mut self, delta: Delta, events: &mut Vec<Event>) {
        if let Some(thinking) = delta.reasoning_content.or(delta.reasoning).as_ref().and_then(Value::as_str) {
            let event = self.draft.thinking(&mut self.reasoning, thinking);
            self.text = self.text.filter(|_| event.is_none());
            events.extend(event);
        }
        for text in delta.content.iter().flat_map(texts) {
            let event = self.draft.text(&mut self.text, text);
            self.reasoning = self.reasoning.filter(|_| event.is_none());
            events.extend(event);
        }
        self.refusal.push_str(delta.refusal.as_deref().unwrap_or_default());
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call);
        }
    }

    fn call(&mut self, delta: CallDelta) {
        let id = delta.id.filter(|id| !id.is_empty());
        let function = delta.function.unwrap_or_default();
        let name = function.name.filter(|name| !name.is_empty());
        let known = self.calls.iter().rposition(|call| match (delta.index, &id) {
            (Some(index), _) => call.index == Some(index),
            (None, Some(id)) => call.id.as_ref() == Some(id),
            (None, None) => true,
        });
        let continued = known.filter(|&at| !self.begins_another(at, &id, name.is_some(), delta.index));
        let at = continued.unwrap_or_else(|| {
            // What follows a call is a part of its own.
            (self.text, self.reasoning) = (None, None);
            let part = self.draft.tool_use(name.unwrap_or_default());
            self.calls.push(Call { part, index: delta.index, id: None });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        call.id = call.id.take().or(id);
        match function.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(piece)) => self.draft.tool_input(call.part, &piece),
            Some(whole) => self.draft.tool_input(call.part, &whole.to_string()),
        }
    }

    /// Whether a delta that points at a known call is the beginning of another: it has another id; or, having none, a
    /// name, and nothing ties it to the known call, or that call has its whole input.
    fn begins_another(&self, at: usize, id: &Option<String>, named: bool, index: Option<u32>) -> bool {
        let known = &self.calls[at];
        let is_whole = || serde_json::from_str::<Value>(self.draft.tool_json(known.part)).is_ok();
        match (id, &known.id) {
            (Some(id), Some(known)) => id != known,
            _ => named && (index.is_none() || is_whole()),
        }
    }

    fn finish(&mut self) -> Result<Vec<Event>, Failure> {
        let stop = match self.finish_reason.as_deref() {
            _ if !self.refusal.is_empty() => {
                ModelStop::Refusal { category: None, explanation: Some(std::mem::take(&mut self.refusal)) }
            }
            Some("length") => ModelStop::MaxTokens,
            Some("content_filter") => {
                ModelStop::Refusal { category: Some("content_filter".to_owned()), explanation: None }
            }
            Some(reason @ ("error" | "abort")) => {
                return Err(self.unavailable(&format!("the server gave up: finish reason `{reason}`")));
            }
            Some("tool_calls" | "function_call") => ModelStop::ToolUse,
            Some(_) | None => ModelStop::EndTurn,
        };
        let started = (!self.started).then_some(Event::Started);
        let reply = std::mem::take(&mut self.draft).finish(stop, self.usage);
        Ok(started.into_iter().chain([Event::Finished(reply)]).collect())
    }

    fn not_a_chunk(&self, frame: &Frame, error: &serde_json::Error) -> Failure {
        self.unavailable(&format!("expected a chat completion chunk, got {}: {error}", excerpt(frame.data.as_bytes())))
    }

    fn unavailable(&self, what: &str) -> Failure {
        self.server.failure(FailureKind::Unavailable, what)
    }
}

/// The texts of a `content`: one string, or a list of pieces as some servers write it.
fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(pieces) => pieces.iter().filter_map(|piece| piece.get("text")?.as_str()).collect(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u32>,
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl From<WireUsage> for TokenUsage {
    /// `prompt_tokens` holds the cached ones; a neutral `input` doesn't.
    fn from(usage: WireUsage) -> Self {
        let cache_read = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Self {
            input: usage.prompt_tokens.unwrap_or(0).saturating_sub(cache_read),
            output: usage.completion_tokens.unwrap_or(0),
            cache_read,
            ..Self::default()
        }
    }
}
