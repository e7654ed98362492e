//! Events that clients send.

use serde_json::Value;
use tenure_core::content::Block;
use tenure_core::id::{ItemId, ThreadId};
use tenure_core::session::{Answer, Delivery, Input};

use super::content::{Attached, Place, blocks};
use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

pub(in super::super) const DENY_MESSAGE: usize = 65_536;

/// When a message may be read.
pub(in super::super) const DELIVERIES: &[&str] = &["after_turn", "steer"];

/// The most events of one request.
pub(in super::super) const MOST: usize = 1_000;

/// The most events a session begins with.
pub(in super::super) const MOST_INITIAL: usize = 50;

/// What was said, and what came with it.
#[derive(Debug, Default)]
pub(in super::super) struct Said {
    pub(in super::super) inputs: Vec<Input>,
    pub(in super::super) attached: Attached,
    /// A thread that an interrupt names, and where it is named.
    pub(in super::super) thread: Option<(String, ThreadId)>,
    /// Where instructions are, if there are any.
    pub(in super::super) instructs: Option<String>,
}

/// Reads a list of events. All of it is good, or none is accepted.
pub(in super::super) fn inputs(fields: &mut Fields<'_>) -> Result<Said, Problem> {
    let list = match fields.required("events", "a list of events")? {
        Value::Array(list) => list,
        other => return Err(fields.wrong("events", format!("expected a list, got {}", describe(&other)))),
    };
    if list.is_empty() || list.len() > MOST {
        return Err(fields.wrong("events", format!("expected 1 to {MOST} events, got {}", list.len())));
    }
    read(fields, "events", list, false)
}

/// Reads the events a session begins with, if there are any.
pub(super) fn initial(fields: &mut Fields<'_>) -> Result<Said, Problem> {
    let list = fields.list("initial_events")?.value().unwrap_or_default();
    if list.len() > MOST_INITIAL {
        return Err(
            fields.wrong("initial_events", format!("expected at most {MOST_INITIAL} events, got {}", list.len()))
        );
    }
    read(fields, "initial_events", list, true)
}

fn read(fields: &mut Fields<'_>, name: &str, list: Vec<Value>, initial: bool) -> Result<Said, Problem> {
    let path = fields.at(name);
    let (mut said, count) = (Said::default(), list.len());
    for (at, value) in list.into_iter().enumerate() {
        let last = at + 1 == count;
        let mut event = fields.nested(format!("{path}.{at}"), value)?;
        let kind = event.required_string("type")?;
        let input = match (kind.as_str(), initial) {
            ("user.message", _) => message(&mut event, &mut said.attached)?,
            ("user.interrupt", false) => interrupt(&mut event, &mut said)?,
            ("user.tool_confirmation", false) => confirmation(&mut event)?,
            ("user.custom_tool_result", false) => client_result(&mut event, &mut said.attached)?,
            ("user.define_outcome", _) => return Err(Problem::unsupported(&event.at("type"), "outcomes are")),
            ("system.message", false) => {
                let follows = said.inputs.last();
                let placed = last
                    && follows.is_none_or(|input| matches!(input, Input::Message { .. } | Input::ClientResult { .. }));
                if !placed {
                    let message = "expected a `system.message` as the last event of its request, alone or right after a \
                                   `user.message` or `user.custom_tool_result`";
                    return Err(event.wrong("type", message));
                }
                said.instructs = Some(event.at("type"));
                instructions(&mut event, &mut said.attached)?
            }
            ("user.tool_result", false) => {
                let message = "results of built-in tools are taken from workers of `self_hosted` environments only, \
                               which are not supported yet by this server";
                return Err(event.wrong("type", message));
            }
            (_, true) => return Err(unknown(&event, "`user.message`", &kind)),
            (_, false) => {
                let expected = "`user.message`, `user.interrupt`, `user.tool_confirmation`, \
                                `user.custom_tool_result` or `system.message`";
                return Err(unknown(&event, expected, &kind));
            }
        };
        said.inputs.push(input);
    }
    Ok(said)
}

fn message(event: &mut Fields<'_>, attached: &mut Attached) -> Result<Input, Problem> {
    let content = content(event, Place::Message, attached)?;
    // Ours. What the peer does is to wait until the turn is over.
    let delivery = match event.one_of("delivery", DELIVERIES)?.value() {
        Some("steer") => Delivery::Steer,
        _ => Delivery::AfterTurn,
    };
    Ok(Input::Message { content, delivery })
}

/// They are read with what they came with, so they have no delivery of their own.
fn instructions(event: &mut Fields<'_>, attached: &mut Attached) -> Result<Input, Problem> {
    let content = content(event, Place::Instructions, attached)?;
    Ok(Input::SystemMessage { content, delivery: Delivery::AfterTurn })
}

fn content(event: &mut Fields<'_>, place: Place, attached: &mut Attached) -> Result<Vec<Block>, Problem> {
    let list = match event.required("content", "a list of content blocks")? {
        Value::Array(list) if !list.is_empty() => list,
        Value::Array(_) => return Err(event.wrong("content", "expected at least one block, got none")),
        Value::String(_) => {
            let message = "expected a list of content blocks such as `[{\"type\": \"text\", \"text\": \"…\"}]`, \
                           got a string";
            return Err(event.wrong("content", message));
        }
        other => return Err(event.wrong("content", format!("expected a list, got {}", describe(&other)))),
    };
    blocks(event, list, place, attached)
}

fn interrupt(event: &mut Fields<'_>, said: &mut Said) -> Result<Input, Problem> {
    let thread = match event.string("session_thread_id")? {
        Given::Absent | Given::Null => None,
        Given::Value(text) => {
            let thread = ThreadId::parse(&text).map_err(|error| event.wrong("session_thread_id", error.to_string()))?;
            said.thread = Some((event.at("session_thread_id"), thread));
            Some(thread)
        }
    };
    Ok(Input::Interrupt { thread })
}

fn confirmation(event: &mut Fields<'_>) -> Result<Input, Problem> {
    let call = call(event, "tool_use_id")?;
    let result = event.required_one_of("result", &["allow", "deny"])?;
    let message = event.text("deny_message", DENY_MESSAGE)?.value();
    echoed_thread(event)?;
    let answer = match (result, message) {
        ("deny", message) => Answer::Deny { message },
        (_, None) => Answer::Allow,
        (_, Some(_)) => return Err(event.wrong("deny_message", "expected only with `result: \"deny\"`")),
    };
    Ok(Input::Confirmation { call, answer })
}

fn client_result(event: &mut Fields<'_>, attached: &mut Attached) -> Result<Input, Problem> {
    let call = call(event, "custom_tool_use_id")?;
    let list = event.list("content")?.value().unwrap_or_default();
    let content = blocks(event, list, Place::ToolResult, attached)?;
    let is_error = event.bool("is_error")?.value().unwrap_or(false);
    echoed_thread(event)?;
    Ok(Input::ClientResult { call, content, is_error })
}

/// Answers go to their call; the thread a client may echo means nothing, but it has to be one.
fn echoed_thread(event: &mut Fields<'_>) -> Result<(), Problem> {
    let Some(text) = event.string("session_thread_id")?.value() else { return Ok(()) };
    match ThreadId::parse(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(event.wrong("session_thread_id", error.to_string())),
    }
}

fn call(event: &mut Fields<'_>, name: &str) -> Result<ItemId, Problem> {
    let text = event.required_string(name)?;
    ItemId::parse(&text).map_err(|error| event.wrong(name, error.to_string()))
}

fn unknown(event: &Fields<'_>, expected: &str, kind: &str) -> Problem {
    let kind: String = kind.chars().take(40).collect();
    event.wrong("type", format!("expected {expected}, got `{kind}`"))
}
