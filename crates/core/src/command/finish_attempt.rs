//! A model replied.

use serde_json::Value;

use crate::agent::{Permission, Place, Resolved};
use crate::compaction;
use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::{AttemptEnding, CallEnding, Fact, Gate, Problem, Thinking};
use crate::id::{AttemptId, ItemId};
use crate::model::{MalformedInput, ModelStop, Reply, ReplyPart};
use crate::question;
use crate::session::{Activity, Attempt, Purpose, StopReason};

/// How many times in a row a reply that was cut off is gone on with.
const MAX_CUTS: u32 = 3;

/// What the model is told of a call in which its reply was cut off.
const CUT_CALL: &str = "not run: the reply reached the most tokens that one reply may have in the middle of this call, so \
                        its input may not be whole. Call it again; if its input is long, in several smaller steps";

/// The whole reply to one request. A reply to a request that isn't in flight any more changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishAttempt {
    /// Which request.
    pub attempt: AttemptId,
    /// The reply.
    pub reply: Reply,
    /// The ids its parts were already previewed under, by index; parts without one get a fresh id.
    pub previewed: Vec<Option<ItemId>>,
}

impl FinishAttempt {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Activity::Asking { attempt } = draft.state.thread.activity else { return Ok(()) };
        if attempt.id != self.attempt {
            return Ok(());
        }
        match attempt.purpose {
            Purpose::Reply => self.take_in(draft, attempt),
            Purpose::Summary => sum_up(draft, attempt, self.reply),
        }
        Ok(())
    }

    fn take_in(self, draft: &mut Draft, attempt: Attempt) {
        let Reply { parts, stop, usage } = self.reply;
        let refused = stop.refusal();
        let cut = stop == ModelStop::MaxTokens;
        let (mut failed, mut called, mut said) = (Vec::new(), false, false);
        let mut previewed = self.previewed.into_iter();
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.into_iter().enumerate() {
            let item = previewed.next().flatten().unwrap_or_else(|| draft.ids.item());
            called |= matches!(part, ReplyPart::ToolUse { .. });
            said |= matches!(&part, ReplyPart::Text(text) if !text.trim().is_empty());
            failed.extend(record(draft, item, part, cut && at == last));
        }
        draft.finish_attempt(attempt, if cut { AttemptEnding::Cut } else { AttemptEnding::Replied }, usage);
        if refused.is_some() {
            let open: Vec<ItemId> = draft.state.thread.calls.iter().map(|open| open.call).collect();
            failed = open.into_iter().map(|call| (call, "not run: the model refused to go on".to_owned())).collect();
        }
        for (call, text) in failed {
            draft.end_call(call, CallEnding::Skipped, vec![Block::text(text)], true);
        }
        if let Some(stop) = refused {
            return draft.rest(stop);
        }
        match stop {
            ModelStop::MaxTokens if draft.state.thread.cuts > MAX_CUTS && draft.state.thread.calls.is_empty() => {
                draft.give_up(Problem::RepliesCut { times: draft.state.thread.cuts });
            }
            // It goes on: with its calls, with what it was about to say, or where the provider made a pause.
            ModelStop::MaxTokens => {}
            _ if called => {}
            // A pause in which nothing was said would lead to the same request again.
            ModelStop::Pause if said => {}
            ModelStop::EndTurn | ModelStop::ToolUse | ModelStop::Pause | ModelStop::Refusal { .. } => {
                draft.rest(StopReason::EndTurn);
            }
        }
    }
}

/// Takes the reply for a summary of what went before, if it is one.
fn sum_up(draft: &mut Draft, attempt: Attempt, reply: Reply) {
    let is_whole = match reply.stop {
        // That the model would like to go on with a call doesn't matter to what it has written.
        ModelStop::EndTurn | ModelStop::ToolUse => true,
        ModelStop::MaxTokens | ModelStop::Pause | ModelStop::Refusal { .. } => false,
    };
    let texts = reply.parts.iter().filter_map(|part| match part {
        ReplyPart::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        ReplyPart::Thinking { .. } | ReplyPart::RedactedThinking(_) | ReplyPart::ToolUse { .. } => None,
    });
    let summary = texts.collect::<Vec<_>>().join("\n\n");
    let left = compaction::before_newest(&draft.state);
    draft.finish_attempt(attempt, AttemptEnding::Replied, reply.usage);
    if is_whole && !summary.is_empty() {
        draft.compact(Some(summary), left, 0);
    } else {
        draft.do_without_summary(attempt.failures);
    }
}

/// Records one part. Gives the call and what its model is told, if it is a call that can't run. Where a reply is cut off,
/// its last call may not be whole, though it looks so.
fn record(draft: &mut Draft, item: ItemId, part: ReplyPart, cut: bool) -> Option<(ItemId, String)> {
    let thread = draft.state.thread.id;
    match part {
        // Providers take no text back that is only white space.
        ReplyPart::Text(text) if text.trim().is_empty() => None,
        ReplyPart::Text(text) => {
            draft.push(Fact::MessageSaid { item, thread, text });
            None
        }
        ReplyPart::Thinking { text, signature } => {
            draft.push(Fact::ThinkingSaid { item, thread, thinking: Thinking::Plain { text, signature } });
            None
        }
        ReplyPart::RedactedThinking(data) => {
            draft.push(Fact::ThinkingSaid { item, thread, thinking: Thinking::Redacted { data } });
            None
        }
        ReplyPart::ToolUse { name, input } => {
            let (gate, place, problem) = match cut {
                true => (Gate::Refused, Place::default(), Some(CUT_CALL.to_owned())),
                false => gate(draft, &name, input.as_ref()),
            };
            let input = input.unwrap_or_else(|malformed| serde_json::json!({ "malformed_input": malformed.raw }));
            draft.push(Fact::CallRequested { item, thread, name, input, gate, place });
            problem.map(|problem| (item, problem))
        }
    }
}

fn gate(draft: &Draft, name: &str, input: Result<&Value, &MalformedInput>) -> (Gate, Place, Option<String>) {
    let refused = |text| (Gate::Refused, Place::default(), Some(text));
    let input = match input {
        Ok(input) => input,
        Err(malformed) => {
            let problem = &malformed.problem;
            return refused(format!("{name}: expected a JSON object as input, got something else: {problem}"));
        }
    };
    match draft.state.definition.agent.resolve(name) {
        Resolved::Builtin { permission: Permission::AlwaysAllow, place } => (Gate::Allowed, place, None),
        Resolved::Builtin { permission: Permission::AlwaysAsk, place } => (Gate::NeedsApproval, place, None),
        Resolved::Question => match question::problem(input) {
            None => (Gate::Question, Place::default(), None),
            Some(problem) => refused(problem),
        },
        Resolved::Client => (Gate::AtClient, Place::default(), None),
        Resolved::Disabled => refused(format!("the tool `{name}` is switched off for this agent")),
        Resolved::Unknown => refused(format!("there is no tool named `{name}`")),
    }
}

impl ModelStop {
    fn refusal(&self) -> Option<StopReason> {
        match self {
            Self::Refusal { category, explanation } => {
                Some(StopReason::Refusal { category: category.clone(), explanation: explanation.clone() })
            }
            Self::EndTurn | Self::ToolUse | Self::MaxTokens | Self::Pause => None,
        }
    }
}
