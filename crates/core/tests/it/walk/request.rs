//! What the strictest provider asks of a conversation: Anthropic's Messages API.

use std::collections::BTreeSet;

use tenure_core::content::Block;
use tenure_core::context::assemble;
use tenure_core::id::ItemId;
use tenure_core::model::{Message, Part, Role};
use tenure_core::state::State;

/// The request that a model is to be sent now is one that its provider takes.
pub(super) fn is_valid(state: &State, paused: bool) {
    let request = assemble(state, &[]);
    let messages = &request.messages;
    assert!(!messages.is_empty(), "there is no message");
    assert_eq!(messages[0].role, Role::User, "the first message is the user's");
    for pair in messages.windows(2) {
        assert_ne!(pair[0].role, pair[1].role, "speakers alternate");
    }
    let last = messages[messages.len() - 1].role;
    assert!(last == Role::User || paused, "the last message is the user's, unless a paused reply goes on");
    let mut all = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        assert!(message.parts.iter().all(has_content), "no part is empty: {message:?}");
        assert!(!message.parts.is_empty(), "no message is empty");
        let instructs = |part: &Part| matches!(part, Part::System { .. });
        assert!(!message.parts.iter().all(instructs), "instructions follow something else of the user's: {message:?}");
        for call in message.parts.iter().filter_map(used) {
            assert_eq!(message.role, Role::Assistant);
            assert!(all.insert(call), "a call is made once");
        }
        let made: BTreeSet<ItemId> = message.parts.iter().filter_map(used).collect();
        let next: &[Part] = messages.get(at + 1).map_or(&[], |next| &next.parts);
        let answered: Vec<ItemId> = next.iter().map_while(answered).collect();
        assert!(
            next[answered.len()..].iter().all(|part| self::answered(part).is_none()),
            "results come first: {next:?}"
        );
        assert_eq!(answered.len(), made.len(), "one result each, and none for anything else");
        assert_eq!(answered.into_iter().collect::<BTreeSet<_>>(), made, "each call is answered by the next message");
    }
    first_has_no_results(&messages[0]);
}

fn first_has_no_results(first: &Message) {
    assert!(first.parts.iter().all(|part| answered(part).is_none()), "a result needs a call");
}

fn has_content(part: &Part) -> bool {
    let block = |block: &Block| block.as_text().is_none_or(|text| !text.trim().is_empty());
    match part {
        Part::Content { block: content } => block(content),
        Part::ToolResult { content, is_error, .. } => content.iter().all(block) && (!is_error || !content.is_empty()),
        Part::System { text } => !text.trim().is_empty(),
        Part::Thinking { .. } | Part::RedactedThinking { .. } => true,
        Part::ToolUse { input, .. } => input.is_object(),
    }
}

fn used(part: &Part) -> Option<ItemId> {
    match part {
        Part::ToolUse { call, .. } => Some(*call),
        _ => None,
    }
}

fn answered(part: &Part) -> Option<ItemId> {
    match part {
        Part::ToolResult { call, .. } => Some(*call),
        _ => None,
    }
}
