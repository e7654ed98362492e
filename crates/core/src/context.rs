//! What the model is sent next.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::{Resolved, ToolConfig};
use crate::content::{BlobId, Block};
use crate::model::{Message, ModelConfig, Part, Request, Role, ToolSpec};
use crate::session::{Activity, Purpose};
use crate::state::State;
use crate::tokens;
use crate::transcript::emptied_of_output;

/// What the model is told after a reply that was cut off. It isn't part of the conversation later on, where the reply and
/// what follows it stand as one.
const GO_ON: &str = "[Your last reply reached the most tokens that one reply may have, and was cut off. Go on right \
                     where it stopped, without repeating anything. Do what is long in several smaller steps.]";

/// The tokens that a summary is given at least, the model's thinking included.
const SUMMARY_TOKENS: u32 = 8_192;

/// What the model is told when it is to sum up.
const SUM_UP: &str = "\
[This conversation is about to become longer than you can read at once. What you write now will stand in place of all \
its messages but the newest few, and is all that you will know of them. Call no tools, and don't go on with the work.

Write a summary from which you can go on as if nothing had happened:
1. What the user wants, with every instruction, preference and limit that still holds, in the user's own words where \
wording matters.
2. What has been done and found out: names, paths, commands, values, versions and error messages exactly as they are.
3. Decisions and the reasons for them; what was tried and didn't work.
4. What is under way and still open, and the next step.

If there is a summary of still earlier messages, take over what still matters in it. Answer with the summary alone.]";

/// The request for a session's next model call. `builtin` are the specifications of the built-in tools. Attachments are
/// left empty: [`attachments`] names what must be put there.
pub fn assemble(state: &State, builtin: &[ToolSpec]) -> Request {
    let agent = &state.definition.agent;
    let purpose = match state.thread.activity {
        Activity::Asking { attempt } => attempt.purpose,
        Activity::Idle { .. } | Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {
            Purpose::Reply
        }
    };
    let (model, messages) = match purpose {
        Purpose::Reply => (agent.model.clone(), messages(state)),
        Purpose::Summary => {
            // A summary needs its room, however short replies are to be.
            let max_tokens = agent.model.max_tokens.filter(|tokens| *tokens >= SUMMARY_TOKENS);
            (ModelConfig { max_tokens, ..agent.model.clone() }, to_sum_up(state))
        }
    };
    Request {
        model,
        system: agent.system.clone(),
        messages,
        tools: tools(&agent.tools, builtin, |name| agent.resolve(name)),
        attachments: BTreeMap::new(),
    }
}

/// The blobs whose bytes the request needs.
pub fn attachments(request: &Request) -> Vec<BlobId> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let mut blobs: Vec<BlobId> = parts.flat_map(part_blobs).cloned().collect();
    blobs.sort_unstable();
    blobs.dedup();
    blobs
}

/// A guess at the tokens of the next request: what the provider counted last, and what has come since then.
pub fn estimate_tokens(state: &State) -> u64 {
    let thread = &state.thread;
    let said = thread.transcript.tokens();
    match thread.measured {
        Some(measured) => (measured.counted + said).saturating_sub(measured.guessed),
        None => said + tokens::of_frame(state),
    }
}

/// The conversation. A call that has no result gets one that says so, since no provider takes a call without its result.
fn messages(state: &State) -> Vec<Arc<Message>> {
    let mut messages = with_preface(state);
    for open in &state.thread.calls {
        let content = vec![Block::text("interrupted: this call has no result, and whether it took effect is unknown")];
        let part = Part::ToolResult { call: open.call, content, is_error: true };
        say_as_user(&mut messages, part);
    }
    if state.thread.cuts > 0 {
        say_as_user(&mut messages, Part::Content { block: Block::text(GO_ON) });
    }
    messages
}

/// The conversation with the request to sum it up. All of it is sent, as before, so that a provider that keeps what it
/// has read needn't read it again; unless it is known to be too long, when the output of calls is what it can do without.
fn to_sum_up(state: &State) -> Vec<Arc<Message>> {
    let mut messages = with_preface(state);
    if state.thread.too_long {
        messages = messages.iter().map(emptied_of_output).collect();
    }
    say_as_user(&mut messages, Part::Content { block: Block::text(SUM_UP) });
    messages
}

fn with_preface(state: &State) -> Vec<Arc<Message>> {
    let transcript = &state.thread.transcript;
    let mut messages: Vec<Arc<Message>> = transcript.messages().cloned().collect();
    let mut preface = transcript.preface();
    match messages.first_mut() {
        _ if preface.is_empty() => {}
        Some(first) if first.role == Role::User => {
            preface.extend(first.parts.iter().cloned());
            *first = Arc::new(Message { role: Role::User, parts: preface });
        }
        Some(_) | None => messages.insert(0, Arc::new(Message { role: Role::User, parts: preface })),
    }
    messages
}

fn say_as_user(messages: &mut Vec<Arc<Message>>, part: Part) {
    match messages.last_mut() {
        Some(last) if last.role == Role::User => Arc::make_mut(last).parts.push(part),
        Some(_) | None => messages.push(Arc::new(Message { role: Role::User, parts: vec![part] })),
    }
}

fn tools(configs: &[ToolConfig], builtin: &[ToolSpec], resolve: impl Fn(&str) -> Resolved) -> Vec<ToolSpec> {
    let enabled = builtin.iter().filter(|spec| match resolve(&spec.name) {
        Resolved::Builtin { .. } | Resolved::Question => true,
        Resolved::Client | Resolved::Disabled | Resolved::Unknown => false,
    });
    let custom = configs.iter().filter_map(|config| match config {
        ToolConfig::Custom { name, description, input_schema } => {
            Some(ToolSpec { name: name.clone(), description: description.clone(), input_schema: input_schema.clone() })
        }
        ToolConfig::Builtin { .. } => None,
    });
    enabled.cloned().chain(custom).collect()
}

fn part_blobs(part: &Part) -> Vec<&BlobId> {
    match part {
        Part::Content { block } => block.blob().into_iter().collect(),
        Part::ToolResult { content, .. } => content.iter().filter_map(Block::blob).collect(),
        Part::System { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } | Part::ToolUse { .. } => {
            Vec::new()
        }
    }
}
