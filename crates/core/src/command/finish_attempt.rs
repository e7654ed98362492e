//! A model replied.

use serde_json::Value;

use crate::agent::{Permission, Place, Resolved};
use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::{AttemptEnding, CallEnding, Fact, Gate, Thinking};
use crate::id::{AttemptId, ItemId};
use crate::model::{MalformedInput, ModelStop, Reply, ReplyPart};
use crate::question;
use crate::session::{Activity, StopReason};

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
        let refused = self.reply.stop.refusal();
        let mut previewed = self.previewed.into_iter();
        let mut failed = Vec::new();
        for part in self.reply.parts {
            let item = previewed.next().flatten().unwrap_or_else(|| draft.ids.item());
            failed.extend(record(draft, item, part));
        }
        let (item, thread) = (draft.ids.item(), draft.state.thread.id);
        let usage = self.reply.usage;
        let ending = AttemptEnding::Replied;
        draft.push(Fact::AttemptEnded { item, thread, attempt: attempt.id, start: attempt.item, ending, usage });
        if refused.is_some() {
            let open: Vec<ItemId> = draft.state.thread.calls.iter().map(|open| open.call).collect();
            failed = open.into_iter().map(|call| (call, "not run: the model refused to go on".to_owned())).collect();
        }
        for (call, text) in failed {
            draft.end_call(call, CallEnding::Skipped, vec![Block::text(text)], true);
        }
        let called = draft.facts.iter().any(|stored| matches!(&*stored.fact, Fact::CallRequested { .. }));
        match (refused, self.reply.stop) {
            (Some(stop), _) => draft.rest(stop),
            (None, ModelStop::Pause) => {}
            (None, _) if called => {}
            (None, ModelStop::EndTurn | ModelStop::ToolUse | ModelStop::MaxTokens | ModelStop::Refusal { .. }) => {
                draft.rest(StopReason::EndTurn);
            }
        }
        Ok(())
    }
}

/// Records one part. Gives the call and what its model is told, if it is a call that can't run.
fn record(draft: &mut Draft, item: ItemId, part: ReplyPart) -> Option<(ItemId, String)> {
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
            let (gate, place, problem) = gate(draft, &name, input.as_ref());
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
