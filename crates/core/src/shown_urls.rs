//! The addresses that a conversation has shown.

use std::collections::HashMap;

use crate::agent::{ToolConfig, ToolFilter, UrlSources};
use crate::content::{Block, Source};
use crate::id::ItemId;
use crate::model::{Part, Role};
use crate::state::State;

/// All addresses in these places of the conversation, as they stand there: each up to the next white space, or to what can't
/// be in an address.
pub fn shown_urls(state: &State, sources: &UrlSources) -> Vec<String> {
    let custom = |name: &str| {
        let tools = &state.definition.agent.tools;
        tools.iter().any(|tool| matches!(tool, ToolConfig::Custom { name: custom, .. } if custom == name))
    };
    let hosted = |name: &str| !crate::agent::place(name).is_sandbox();
    let takes = |filter: &Option<ToolFilter>, name: &str| filter.as_ref().is_none_or(|filter| filter.takes(name));
    let mut called: HashMap<ItemId, &str> = HashMap::new();
    let mut found = Vec::new();
    let messages: Vec<_> = state.thread.transcript.messages().collect();
    for message in &messages {
        for part in &message.parts {
            match (message.role, part) {
                (_, Part::ToolUse { call, name, .. }) => drop(called.insert(*call, name)),
                (Role::User, Part::Content { block }) if sources.user_input.unwrap_or(true) => {
                    in_block(block, &mut found)
                }
                (_, Part::ToolResult { call, content, .. }) => {
                    let name = called.get(call).copied().unwrap_or_default();
                    let counts = (custom(name) && takes(&sources.client_tool_results, name))
                        || (hosted(name) && takes(&sources.server_tool_results, name));
                    if counts {
                        content.iter().for_each(|block| in_block(block, &mut found));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn in_block(block: &Block, found: &mut Vec<String>) {
    match block {
        Block::Text { text } => in_text(text, found),
        Block::Document { source: Source::Text { data }, .. } => in_text(data, found),
        Block::Image { source: Source::Url { url } } | Block::Document { source: Source::Url { url }, .. } => {
            found.push(url.clone());
        }
        Block::SearchResult { source, content, .. } => {
            found.push(source.clone());
            content.iter().for_each(|text| in_text(text, found));
        }
        Block::Image { .. } | Block::Document { .. } => {}
    }
}

fn in_text(text: &str, found: &mut Vec<String>) {
    let mut rest = text;
    while let Some(at) = rest.find("http").or_else(|| rest.find("HTTP")) {
        let from = &rest[at..];
        let end = from.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '`' | '\\' | '|'));
        let candidate = &from[..end.unwrap_or(from.len())];
        let lower = candidate.get(..8).unwrap_or(candidate).to_ascii_lowercase();
        if lower.starts_with("http://") || lower == "https://" {
            found.push(candidate.to_owned());
        }
        // One may stand within another, as in `[https://a](https://b)`.
        rest = &from[4..];
    }
}

#[cfg(test)]
mod tests {
    use super::in_text;

    #[test]
    fn addresses_are_found_in_texts() {
        let mut found = Vec::new();
        in_text(
            "See https://a.example/x?y=1#z, [https://b.example](http://c.example/) \"https://d.example\" http https:/e.",
            &mut found,
        );
        let expected = [
            "https://a.example/x?y=1#z,",
            "https://b.example](http://c.example/)",
            "http://c.example/)",
            "https://d.example",
        ];
        assert_eq!(found, expected);
    }
}
