//! Somebody says something to the session.

use crate::content::Block;
use crate::decide::{Blockers, Draft, MAX_QUEUED, Refusal};
use crate::fact::{CallEnding, Fact};
use crate::id::ItemId;
use crate::session::{Activity, Answer, CallProgress, Delivery, Input, Lifecycle};

/// One or more inputs, in order. Either all are accepted or none.
///
/// A message starts a turn if the session is idle, and otherwise waits until the turn is over or its blockers are
/// answered; one that steers waits only until the call that runs, or the reply under way, is over. While a question is
/// open, it is its answer. An interrupt takes effect at once, before anything that waits. An answer goes to its call at
/// once.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// The inputs, each with the id it is shown under.
    pub inputs: Vec<(ItemId, Input)>,
}

impl Send {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        let mut before = Before::Nothing;
        for (item, input) in self.inputs {
            before = before.then(draft, &input);
            match input {
                Input::SystemMessage { content, .. } => instruct(draft, item, content, before)?,
                Input::Message { .. } => say(draft, item, input)?,
                Input::Answer { call, content } => answer(draft, item, call, content)?,
                Input::Interrupt { .. } => interrupt(draft, item, input),
                Input::Confirmation { call, ref answer } => {
                    let answer = answer.clone();
                    confirm(draft, item, input, call, &answer)?;
                }
                Input::ClientResult { call, .. } => {
                    // Whoever shows a question may answer it by name, as a client answers for its own tools.
                    if draft.state.call(call).is_none_or(|open| open.progress != CallProgress::Question) {
                        expect(draft, call, CallProgress::AtClient)?;
                    }
                    accept_answer(draft, item, input);
                }
            }
        }
        Ok(())
    }
}

/// A message answers the oldest open question, if there is one: whoever is asked and says something answers.
fn say(draft: &mut Draft, item: ItemId, input: Input) -> Result<(), Refusal> {
    if let (Some(call), Input::Message { content, .. }) = (question(draft), &input) {
        return answer(draft, item, call, content.clone());
    }
    if draft.state.budget_reached() {
        let spent_cents = draft.state.list_cost(draft.at).unwrap_or_default().cents();
        let limit_cents = draft.state.budget.map_or(0, |budget| budget.max_list_cost_cents);
        return Err(Refusal::BudgetReached { spent_cents, limit_cents });
    }
    wake(draft);
    match draft.state.thread.activity {
        Activity::Idle { .. } => draft.fresh.push((item, input)),
        Activity::Asking { .. } | Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {
            queue(draft, item, input)?;
        }
    }
    Ok(())
}

/// The oldest open question.
fn question(draft: &Draft) -> Option<ItemId> {
    let question = draft.state.thread.calls.iter().find(|open| open.progress == CallProgress::Question);
    question.map(|open| open.call)
}

fn queue(draft: &mut Draft, item: ItemId, input: Input) -> Result<(), Refusal> {
    if draft.state.queue.len() >= MAX_QUEUED {
        return Err(Refusal::QueueFull);
    }
    draft.push(Fact::InputQueued { item, thread: draft.state.thread.id, input });
    Ok(())
}

/// What stands right before an input in its request.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    Message(Delivery),
    /// The result of a call, or the answer to a question.
    Result,
    Other,
}

impl Before {
    /// The same for the input after `next`; instructions themselves leave it as it is.
    fn then(self, draft: &Draft, next: &Input) -> Self {
        match next {
            Input::SystemMessage { .. } => self,
            Input::Message { .. } if question(draft).is_some() => Self::Result,
            Input::Message { delivery, .. } => Self::Message(*delivery),
            Input::Answer { .. } | Input::ClientResult { .. } => Self::Result,
            Input::Interrupt { .. } | Input::Confirmation { .. } => Self::Other,
        }
    }
}

/// Instructions are read with what they came with. Behind a result that is when the model is asked next, at once if no
/// other call is open. By themselves they begin no turn.
fn instruct(draft: &mut Draft, item: ItemId, content: Vec<Block>, before: Before) -> Result<(), Refusal> {
    let idle = matches!(draft.state.thread.activity, Activity::Idle { .. });
    let waiting = matches!(draft.state.thread.activity, Activity::Waiting { .. });
    let instructions = |delivery| Input::SystemMessage { content, delivery };
    match before {
        Before::Message(delivery) if idle => draft.fresh.push((item, instructions(delivery))),
        Before::Message(delivery) if !waiting => queue(draft, item, instructions(delivery))?,
        Before::Result => queue(draft, item, instructions(Delivery::Steer))?,
        Before::Nothing if idle => {
            let input = instructions(Delivery::AfterTurn);
            draft.push(Fact::InputProcessed { item, thread: draft.state.thread.id, input });
        }
        Before::Message(_) | Before::Nothing | Before::Other => return Err(Refusal::MisplacedInstructions),
    }
    Ok(())
}

/// What was said is shown as the message that it is, and as the result of the call that asked.
fn answer(draft: &mut Draft, item: ItemId, call: ItemId, content: Vec<Block>) -> Result<(), Refusal> {
    expect(draft, call, CallProgress::Question)?;
    accept_answer(draft, item, Input::Answer { call, content: content.clone() });
    let result = draft.ids.item();
    accept_answer(draft, result, Input::ClientResult { call, content, is_error: false });
    Ok(())
}

fn interrupt(draft: &mut Draft, item: ItemId, input: Input) {
    // A message earlier in the same request has begun by the time the interrupt after it takes effect.
    if !draft.fresh.is_empty() {
        draft.start_turn();
    }
    // There is nothing to stop, and the turn is to go on when the budget is raised.
    if draft.state.budget_reached() {
        return;
    }
    draft.push(Fact::InputProcessed { item, thread: draft.state.thread.id, input });
    draft.interrupt(Blockers::End);
    draft.leave_the_line();
}

fn confirm(draft: &mut Draft, item: ItemId, input: Input, call: ItemId, answer: &Answer) -> Result<(), Refusal> {
    expect(draft, call, CallProgress::NeedsApproval)?;
    accept_answer(draft, item, input);
    match answer {
        Answer::Allow => {}
        Answer::Deny { message } => {
            let text = match message {
                Some(message) => format!("the user did not allow this call: {message}"),
                None => "the user did not allow this call".to_owned(),
            };
            draft.end_call(call, CallEnding::Denied, vec![Block::text(text)], true);
        }
    }
    Ok(())
}

fn accept_answer(draft: &mut Draft, item: ItemId, input: Input) {
    wake(draft);
    draft.push(Fact::InputProcessed { item, thread: draft.state.thread.id, input });
    draft.answered = true;
}

fn wake(draft: &mut Draft) {
    if draft.state.held {
        draft.push(Fact::SessionResumed {});
    }
}

fn expect(draft: &Draft, call: ItemId, given: CallProgress) -> Result<(), Refusal> {
    let open = draft.state.call(call).ok_or(Refusal::NoSuchCall { call })?;
    if open.progress == given {
        return Ok(());
    }
    Err(Refusal::WrongAnswer { call, wanted: awaited(open.progress), given: awaited(given) })
}

fn awaited(progress: CallProgress) -> &'static str {
    match progress {
        CallProgress::NeedsApproval => "a confirmation",
        CallProgress::AtClient => "a result from the client",
        CallProgress::Question => "an answer",
        CallProgress::Ready | CallProgress::Started => "its own end",
    }
}
