//! How many tokens something takes, guessed: for what no provider has counted yet.

use crate::agent::ToolConfig;
use crate::content::{Block, Source};
use crate::model::{Message, Part};
use crate::state::State;

/// Bytes a token stands for on average, in English and in code.
const BYTES: usize = 4;

/// What a message or part takes besides its content.
const FRAME: u64 = 4;

/// A picture, which providers scale to about this.
const PICTURE: u64 = 1_600;

/// A document whose length isn't known here, such as a PDF of some pages.
const DOCUMENT: u64 = 12_000;

/// The built-in tools as models are told of them.
const BUILTIN_TOOLS: u64 = 2_000;

/// What a message takes.
pub(crate) fn of_message(message: &Message) -> u64 {
    FRAME + message.parts.iter().map(of_part).sum::<u64>()
}

/// What a part of a message takes.
pub(crate) fn of_part(part: &Part) -> u64 {
    FRAME
        + match part {
            Part::Content { block } => of_block(block),
            Part::ToolResult { content, .. } => content.iter().map(of_block).sum(),
            Part::System { text } | Part::Thinking { text, .. } => of_text(text),
            Part::RedactedThinking { data } => of_text(data),
            Part::ToolUse { name, input, .. } => of_text(name) + of_length(input.to_string().len()),
        }
}

/// What a text takes.
pub(crate) fn of_text(text: &str) -> u64 {
    of_length(text.len())
}

/// What goes with every request of a session: its system prompt and its tools.
pub(crate) fn of_frame(state: &State) -> u64 {
    let agent = &state.definition.agent;
    let tools = agent.tools.iter().map(|tool| match tool {
        ToolConfig::Builtin { .. } => BUILTIN_TOOLS,
        ToolConfig::Custom { name, description, input_schema } => {
            FRAME + of_text(name) + of_text(description) + of_length(input_schema.to_string().len())
        }
    });
    agent.system.as_deref().map_or(0, of_text) + tools.sum::<u64>()
}

fn of_block(block: &Block) -> u64 {
    match block {
        Block::Text { text } => of_text(text),
        Block::Image { .. } => PICTURE,
        Block::Document { source, .. } => match source {
            Source::Text { data } => of_text(data),
            Source::Blob { .. } | Source::Url { .. } => DOCUMENT,
        },
        Block::SearchResult { source, title, content, .. } => {
            of_text(source) + of_text(title) + content.iter().map(|text| of_text(text)).sum::<u64>()
        }
    }
}

fn of_length(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES) as u64
}
