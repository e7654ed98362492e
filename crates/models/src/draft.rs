//! A reply while it is being written.

use serde_json::{Map, Value};
use tenure_core::model::{MalformedInput, ModelStop, Reply, ReplyPart, TokenUsage};

use crate::provider::Event;

/// The parts so far. A part comes into being with its first content, so the indices of events count exactly the parts
/// of the finished reply.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    parts: Vec<DraftPart>,
}

#[derive(Debug)]
enum DraftPart {
    Text(String),
    Thinking { text: String, signature: Option<String> },
    RedactedThinking(String),
    ToolUse { name: String, json: String },
}

/// Where a part is in the reply.
pub(crate) type PartIndex = usize;

impl Draft {
    /// Adds text to the part at `at`, or to a new one.
    pub(crate) fn text(&mut self, at: &mut Option<PartIndex>, delta: &str) -> Option<Event> {
        if delta.is_empty() {
            return None;
        }
        let index = *at.get_or_insert_with(|| self.push(DraftPart::Text(String::new())));
        if let DraftPart::Text(text) = &mut self.parts[index] {
            text.push_str(delta);
        }
        Some(Event::TextDelta { index: wire_index(index), text: delta.to_owned() })
    }

    /// Adds thinking to the part at `at`, or to a new one.
    pub(crate) fn thinking(&mut self, at: &mut Option<PartIndex>, delta: &str) -> Option<Event> {
        if delta.is_empty() {
            return None;
        }
        let index = *at.get_or_insert_with(|| self.push(DraftPart::Thinking { text: String::new(), signature: None }));
        if let DraftPart::Thinking { text, .. } = &mut self.parts[index] {
            text.push_str(delta);
        }
        Some(Event::ThinkingDelta { index: wire_index(index), text: delta.to_owned() })
    }

    /// Adds to the signature of the thinking at `at`, or of a new, hidden one.
    pub(crate) fn signature(&mut self, at: &mut Option<PartIndex>, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let index = *at.get_or_insert_with(|| self.push(DraftPart::Thinking { text: String::new(), signature: None }));
        if let DraftPart::Thinking { signature, .. } = &mut self.parts[index] {
            signature.get_or_insert_default().push_str(delta);
        }
    }

    /// Adds thinking that the provider encrypted.
    pub(crate) fn redacted_thinking(&mut self, data: String) {
        self.push(DraftPart::RedactedThinking(data));
    }

    /// Begins a tool call.
    pub(crate) fn tool_use(&mut self, name: String) -> PartIndex {
        self.push(DraftPart::ToolUse { name, json: String::new() })
    }

    /// Adds to the input of the tool call at `index`.
    pub(crate) fn tool_input(&mut self, index: PartIndex, delta: &str) {
        if let DraftPart::ToolUse { json, .. } = &mut self.parts[index] {
            json.push_str(delta);
        }
    }

    /// The input of the tool call at `index` as far as it is known.
    pub(crate) fn tool_json(&self, index: PartIndex) -> &str {
        match &self.parts[index] {
            DraftPart::ToolUse { json, .. } => json,
            DraftPart::Text(_) | DraftPart::Thinking { .. } | DraftPart::RedactedThinking(_) => "",
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The finished reply. A stop that says "done" while tools were called, or the reverse, is set right: servers are
    /// careless here, and a call that nobody runs would leave the conversation without its result.
    pub(crate) fn finish(self, stop: ModelStop, usage: TokenUsage) -> Reply {
        let calls_tools = self.parts.iter().any(|part| matches!(part, DraftPart::ToolUse { .. }));
        let stop = match stop {
            ModelStop::EndTurn if calls_tools => ModelStop::ToolUse,
            ModelStop::ToolUse if !calls_tools => ModelStop::EndTurn,
            other => other,
        };
        Reply { parts: self.parts.into_iter().map(DraftPart::finish).collect(), stop, usage }
    }

    fn push(&mut self, part: DraftPart) -> PartIndex {
        self.parts.push(part);
        self.parts.len() - 1
    }
}

impl DraftPart {
    fn finish(self) -> ReplyPart {
        match self {
            Self::Text(text) => ReplyPart::Text(text),
            Self::Thinking { text, signature } => ReplyPart::Thinking { text, signature },
            Self::RedactedThinking(data) => ReplyPart::RedactedThinking(data),
            Self::ToolUse { name, json } => ReplyPart::ToolUse { name, input: tool_input(json) },
        }
    }
}

/// Reads a tool's input. Nothing at all means no arguments, which providers write for tools that take none.
fn tool_input(json: String) -> Result<Value, MalformedInput> {
    if json.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let problem = match serde_json::from_str(&json) {
        Ok(object @ Value::Object(_)) => return Ok(object),
        Ok(Value::Null) => "expected a JSON object, got null".to_owned(),
        Ok(Value::Bool(_)) => "expected a JSON object, got a boolean".to_owned(),
        Ok(Value::Number(_)) => "expected a JSON object, got a number".to_owned(),
        Ok(Value::String(_)) => "expected a JSON object, got a string".to_owned(),
        Ok(Value::Array(_)) => "expected a JSON object, got an array".to_owned(),
        Err(error) => format!("not valid JSON: {error}"),
    };
    Err(MalformedInput { raw: json, problem })
}

fn wire_index(index: PartIndex) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
