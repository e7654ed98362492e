//! What a session waits for, asked of the person in place.

use anyhow::Result;
use serde_json::{Value, json};

use super::lines::{Line, Lines};
use super::question::Question;
use super::tool_line::tool_line;
use crate::client::{Client, Event};
use crate::terminal::{plain, say};

/// What came of asking.
#[derive(Debug)]
pub(super) enum Answer {
    /// Events to send.
    Send(Vec<Value>),
    /// The person left.
    Left(Line),
    /// Somebody else must answer: a program that runs a custom tool.
    Elsewhere(String),
}

/// Asks about each call that waits. Ids that were answered meanwhile are left out by the server.
pub(super) async fn ask(client: &Client, session: &str, waiting: &[String], lines: &mut Lines) -> Result<Answer> {
    let mut answers = Vec::new();
    for call in calls(client, session, waiting).await? {
        let line = tool_line(&call);
        if let Some(question) = Question::of(&call) {
            match question.put(lines)? {
                Ok(said) => answers.push(json!({
                    "type": "user.custom_tool_result", "custom_tool_use_id": call.id(),
                    "content": [{"type": "text", "text": said}],
                })),
                Err(line) => return Ok(Answer::Left(line)),
            }
            continue;
        }
        if call.kind() == "agent.custom_tool_use" {
            return Ok(Answer::Elsewhere(line));
        }
        say::line(&format!("\n{} {line}", say::bold("The agent asks to run")));
        if let Some(input) = whole_input(&call, &line) {
            say::hint(&input);
        }
        match decide(lines)? {
            Decision::Allow => {
                answers.push(json!({"type": "user.tool_confirmation", "tool_use_id": call.id(), "result": "allow"}));
            }
            Decision::Deny(why) => {
                let mut answer = json!({"type": "user.tool_confirmation", "tool_use_id": call.id(), "result": "deny"});
                if let Some(why) = why {
                    answer["deny_message"] = Value::String(why);
                }
                answers.push(answer);
            }
            Decision::Leave(line) => return Ok(Answer::Left(line)),
        }
    }
    Ok(Answer::Send(answers))
}

/// The input, where the line doesn't show all of it: nobody should allow what they haven't seen.
fn whole_input(call: &Event, line: &str) -> Option<String> {
    let input = &call.data["input"];
    let shown = match (input["command"].as_str(), input.as_object()) {
        (Some(command), Some(fields)) if fields.len() == 1 => plain(command),
        _ => plain(&serde_json::to_string_pretty(input).unwrap_or_default()),
    };
    let is_whole = line.ends_with(shown.trim()) && !shown.trim().contains('\n');
    (!is_whole && shown != "{}").then_some(shown)
}

enum Decision {
    Allow,
    Deny(Option<String>),
    Leave(Line),
}

fn decide(lines: &mut Lines) -> Result<Decision> {
    loop {
        let said = match lines.ask("Allow? [y]es, [n]o, or why not")? {
            Line::Said(said) => said,
            left @ (Line::End | Line::BrokenOff) => return Ok(Decision::Leave(left)),
        };
        let said = said.trim();
        match said.to_ascii_lowercase().as_str() {
            "" => {}
            "y" | "yes" => return Ok(Decision::Allow),
            "n" | "no" => return Ok(Decision::Deny(None)),
            _ => return Ok(Decision::Deny(Some(said.to_owned()))),
        }
    }
}

/// The events of the calls that wait.
async fn calls(client: &Client, session: &str, waiting: &[String]) -> Result<Vec<Event>> {
    let path = format!("/v1/sessions/{session}/events");
    let query =
        [("types[]", "agent.tool_use"), ("types[]", "agent.custom_tool_use"), ("order", "desc"), ("limit", "100")];
    let waits = |event: &Value| waiting.iter().any(|id| event["id"] == id.as_str());
    let mut found = client.list(&path, &query, waiting.len(), waits).await?;
    found.reverse();
    Ok(found.into_iter().map(|data| Event { cursor: None, data }).collect())
}
