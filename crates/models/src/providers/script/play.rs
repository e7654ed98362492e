//! Which reply a script gives to a request, and how it is told.

use std::time::Duration;

use futures_core::stream::Stream;
use futures_util::{StreamExt, future, stream};
use serde_json::Value;
use tenure_core::content::Block;
use tenure_core::model::{Failure, Message, ModelStop, Part, Reply, ReplyPart, Request, Role, TokenUsage};

use super::file::{Rule, Step};
use crate::provider::Event;

/// Text is told in pieces of at least this many bytes, cut at spaces.
const PIECE_BYTES: usize = 12;

/// A reply and the time it takes.
pub(super) struct Scene {
    delay: Duration,
    pace: Duration,
    reply: Reply,
}

/// The reply to a request: of the first rule that matches the last user text, the step that has as many replies before
/// it as there are since that text.
pub(super) fn scene(name: &str, rules: &[Rule], request: &Request) -> Scene {
    let asked = request.messages.iter().rposition(|message| user_text(message).is_some());
    let text = asked.and_then(|at| user_text(&request.messages[at])).unwrap_or_default();
    let since = &request.messages[asked.map_or(0, |at| at + 1)..];
    let replies = since.iter().filter(|message| message.role == Role::Assistant).count();
    let matches = |rule: &&Rule| rule.when.as_ref().is_none_or(|when| when.is_match(&text));
    let Some(rule) = rules.iter().find(matches) else {
        let known: Vec<_> =
            rules.iter().filter_map(|rule| rule.when.as_ref()).map(|when| format!("`{when}`")).collect();
        return say(format!(
            "I am script/{name}, which plays a file instead of thinking. It has no answer to this; it knows {}.",
            known.join(", ")
        ));
    };
    match rule.steps.get(replies) {
        Some(step) => Scene {
            delay: step.delay(),
            pace: step.pace(),
            reply: reply(step, &Values { last_user_text: &text, request }),
        },
        None => say(format!("That is all script/{name} has to say to this.")),
    }
}

/// The events of a reply.
pub(super) fn perform(scene: Result<Scene, Failure>) -> impl Stream<Item = Result<Event, Failure>> + Send {
    let (delay, pace, events) = match scene {
        Ok(Scene { delay, pace, reply }) => (delay, pace, events(reply)),
        Err(failure) => (Duration::ZERO, Duration::ZERO, vec![Err(failure)]),
    };
    let waited = async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    };
    // Started at once: a slow script is a model that thinks, not one that hasn't answered.
    let mut events = events.into_iter();
    let first = stream::iter(events.next());
    let rest = stream::iter(events).then(move |event| async move {
        if !pace.is_zero() && matches!(event, Ok(Event::TextDelta { .. } | Event::ThinkingDelta { .. })) {
            tokio::time::sleep(pace).await;
        }
        event
    });
    first.chain(stream::once(waited).filter_map(|()| future::ready(None))).chain(rest)
}

fn events(reply: Reply) -> Vec<Result<Event, Failure>> {
    let mut events = vec![Ok(Event::Started)];
    for (index, part) in (0..).zip(&reply.parts) {
        let deltas: Vec<_> = match part {
            ReplyPart::Text(text) => pieces(text).into_iter().map(|text| Event::TextDelta { index, text }).collect(),
            ReplyPart::Thinking { text, .. } => {
                pieces(text).into_iter().map(|text| Event::ThinkingDelta { index, text }).collect()
            }
            ReplyPart::RedactedThinking(_) | ReplyPart::ToolUse { .. } => Vec::new(),
        };
        events.extend(deltas.into_iter().map(Ok));
    }
    events.push(Ok(Event::Finished(reply)));
    events
}

fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split_inclusive(char::is_whitespace) {
        match pieces.last_mut() {
            Some(last) if last.len() < PIECE_BYTES => last.push_str(word),
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn say(text: String) -> Scene {
    let reply = Reply { parts: vec![ReplyPart::Text(text)], stop: ModelStop::EndTurn, usage: TokenUsage::default() };
    Scene { delay: Duration::ZERO, pace: Duration::ZERO, reply }
}

/// A step as a reply. A script takes no tokens, so it counts none but those it says.
fn reply(step: &Step, values: &Values<'_>) -> Reply {
    let mut parts = Vec::new();
    let filled = |text: &Option<String>| text.as_deref().map(|text| values.fill(text)).filter(|text| !text.is_empty());
    parts.extend(filled(&step.thinking).map(|text| ReplyPart::Thinking { text, signature: None }));
    parts.extend(filled(&step.text).map(ReplyPart::Text));
    for tool in &step.tools {
        let input = Value::Object(tool.input.clone());
        parts.push(ReplyPart::ToolUse { name: tool.name.clone(), input: Ok(values.fill_in(input)) });
    }
    let stop = if step.tools.is_empty() { ModelStop::EndTurn } else { ModelStop::ToolUse };
    Reply { parts, stop, usage: step.usage }
}

/// What the placeholders stand for.
struct Values<'r> {
    last_user_text: &'r str,
    request: &'r Request,
}

impl Values<'_> {
    /// One pass from left to right, so that braces in a value stay text.
    fn fill(&self, template: &str) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let (value, next) = match after.split_once("}}") {
                Some(("last_tool_result", next)) => (last_tool_result(self.request), next),
                Some(("last_user_text", next)) => (self.last_user_text.trim().to_owned(), next),
                _ => ("{{".to_owned(), after),
            };
            filled.push_str(&value);
            rest = next;
        }
        filled + rest
    }

    fn fill_in(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.fill_in(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(key, value)| (key, self.fill_in(value))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }
}

/// What a user said in a message; `None` if it holds only results of tools.
fn user_text(message: &Message) -> Option<String> {
    let blocks = message.parts.iter().filter_map(|part| match part {
        Part::Content { block } if message.role == Role::User => Some(block),
        Part::Content { .. } | Part::System { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } => None,
        Part::ToolUse { .. } | Part::ToolResult { .. } => None,
    });
    let texts: Vec<&str> = blocks.map(|block| block.as_text().unwrap_or_default()).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn last_tool_result(request: &Request) -> String {
    let mut results = request.messages.iter().rev().flat_map(|message| message.parts.iter().rev());
    let result = results.find_map(|part| match part {
        Part::ToolResult { content, .. } => Some(content),
        Part::Content { .. }
        | Part::System { .. }
        | Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::ToolUse { .. } => None,
    });
    let texts: Vec<&str> = result.into_iter().flatten().filter_map(Block::as_text).collect();
    texts.join("\n").trim().to_owned()
}
