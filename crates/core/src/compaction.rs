//! When a conversation is too long for its model, and what is left out then.
//!
//! The first choice is a summary by the model itself. Where there is none to be had, old output of calls goes first, and
//! then the oldest messages. Each step makes the conversation shorter, or isn't taken: so however a provider answers, the
//! steps come to an end.

use crate::model::{Message, Part, Role};
use crate::state::{State, Thread};
use crate::tokens;

/// Failures in a row up to which a summary is asked for again.
pub(crate) const SUMMARY_RETRIES: u32 = 2;

/// The part of the limit, one in so many, that the newest messages take at most when a summary stands for the rest.
const KEPT: u64 = 4;

/// The part of the limit, one in so many, that is worth a summary.
const WORTH: u64 = 8;

/// The steps after which only what can't be left out stays.
const LAST_STEP: u32 = 4;

/// What is left out of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shrink {
    /// So many of the oldest messages.
    pub(crate) left: usize,
    /// The output of calls in so many of the oldest that stay.
    pub(crate) emptied: usize,
}

/// The most tokens of a request.
pub(crate) fn limit(state: &State) -> u64 {
    let policy = state.definition.context.limit();
    state.thread.learned_limit.map_or(policy, |learned| learned.min(policy))
}

/// Whether the next request is to be for a summary. So many requests have failed in a row.
pub(crate) fn wants_summary(state: &State, failures: u32) -> bool {
    let Thread { too_long, summary_failed, compactions, .. } = state.thread;
    let limit = limit(state);
    let is_due = too_long || crate::context::estimate_tokens(state) > limit;
    if !is_due || summary_failed || compactions > 0 || failures > SUMMARY_RETRIES {
        return false;
    }
    let gone: u64 = state.thread.transcript.messages().take(before_newest(state)).map(|m| tokens::of_message(m)).sum();
    gone > limit / WORTH
}

/// How many of the oldest messages a summary stands for.
pub(crate) fn before_newest(state: &State) -> usize {
    before(state, limit(state) / KEPT)
}

/// The next step that makes the conversation shorter without a summary; `None` if nothing more can be left out.
pub(crate) fn shrink(state: &State) -> Option<Shrink> {
    let transcript = &state.thread.transcript;
    let limit = limit(state);
    let steps = state.thread.compactions;
    let target = if steps < LAST_STEP { (limit / 2) >> steps } else { 0 };
    let all = transcript.len();
    let candidates = [
        Shrink { left: 0, emptied: before_newest(state) },
        Shrink { left: before(state, target), emptied: 0 },
        Shrink { left: before(state, target), emptied: all },
        Shrink { left: before(state, 0), emptied: 0 },
        Shrink { left: before(state, 0), emptied: all },
    ];
    let mut shortest = None;
    for shrink in candidates {
        let mut shorter = transcript.clone();
        shorter.compact(None, shrink.left, shrink.emptied);
        if shorter.tokens() >= shortest.map_or(transcript.tokens(), |(tokens, _)| tokens) {
            continue;
        }
        let enough = shorter.tokens() <= target;
        shortest = Some((shorter.tokens(), shrink));
        if enough {
            break;
        }
    }
    shortest.map(|(_, shrink)| shrink)
}

/// How many of the oldest messages leave, so that the others take at most `room` tokens; if that can't be, so that as few
/// stay as can. A call and its result are never parted.
fn before(state: &State, room: u64) -> usize {
    let messages: Vec<_> = state.thread.transcript.messages().collect();
    let (mut taken, mut from) = (0, messages.len());
    for (at, message) in messages.iter().enumerate().rev() {
        taken += tokens::of_message(message);
        if taken > room && from < messages.len() {
            break;
        }
        if can_be_first(message) {
            from = at;
        }
    }
    if from == messages.len() { 0 } else { from }
}

/// Whether a conversation can begin with it: it answers no call of a message before it.
fn can_be_first(message: &Message) -> bool {
    match message.role {
        Role::Assistant => true,
        Role::User => !message.parts.iter().any(|part| matches!(part, Part::ToolResult { .. })),
    }
}
