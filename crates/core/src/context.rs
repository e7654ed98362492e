//! What the model is sent next.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::{Resolved, ToolConfig};
use crate::content::{BlobId, Block};
use crate::model::{Message, Part, Request, Role, ToolSpec};
use crate::state::State;

/// The request for a session's next model call. `builtin` are the specifications of the built-in tools. Attachments are
/// left empty: [`attachments`] names what must be put there.
pub fn assemble(state: &State, builtin: &[ToolSpec]) -> Request {
    let agent = &state.definition.agent;
    Request {
        model: agent.model.clone(),
        system: agent.system.clone(),
        messages: messages(state),
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

/// A guess at the tokens of the request in flight, for one whose own count was lost: four characters a token.
pub(crate) fn estimate_tokens(state: &State) -> u64 {
    let system = state.definition.agent.system.as_ref().map_or(0, String::len);
    let parts = state.thread.transcript.messages().flat_map(|message| &message.parts);
    let chars = system + parts.map(part_chars).sum::<usize>();
    chars.div_ceil(4) as u64
}

/// The conversation. A call that has no result gets one that says so, since no provider takes a call without its result.
fn messages(state: &State) -> Vec<Arc<Message>> {
    let mut messages: Vec<Arc<Message>> = state.thread.transcript.messages().cloned().collect();
    for open in &state.thread.calls {
        let content = vec![Block::text("interrupted: this call has no result, and whether it took effect is unknown")];
        let part = Part::ToolResult { call: open.call, content, is_error: true };
        match messages.last_mut() {
            Some(last) if last.role == Role::User => Arc::make_mut(last).parts.push(part),
            Some(_) | None => messages.push(Arc::new(Message { role: Role::User, parts: vec![part] })),
        }
    }
    messages
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
        Part::Thinking { .. } | Part::RedactedThinking { .. } | Part::ToolUse { .. } => Vec::new(),
    }
}

fn part_chars(part: &Part) -> usize {
    let block_chars = |block: &Block| block.as_text().map_or(0, str::len);
    match part {
        Part::Content { block } => block_chars(block),
        Part::ToolResult { content, .. } => content.iter().map(block_chars).sum(),
        Part::Thinking { text, .. } => text.len(),
        Part::RedactedThinking { data } => data.len(),
        Part::ToolUse { name, input, .. } => name.len() + input.to_string().len(),
    }
}
