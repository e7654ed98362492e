//! What holds after every command.

use tenure_core::decide::Decision;
use tenure_core::effect::{Effect, outstanding};
use tenure_core::fact::Fact;
use tenure_core::id::ItemId;
use tenure_core::lifetime::next_due;
use tenure_core::model::Role;
use tenure_core::phase::{Fold, Phase};
use tenure_core::session::{Absent, CallProgress, Delivery, Input, Lifecycle, Outcome, Sandbox, StopCause};
use tenure_core::state::State;
use tenure_core::transcript::Transcript;

use super::world::World;

/// Facts follow one another without gaps, and time never goes back.
pub(super) fn order(before: &State, decision: &Decision) {
    let (mut seq, mut at) = (before.seq, before.at);
    for stored in &decision.facts {
        assert_eq!((stored.session, stored.seq), (before.session, seq + 1), "gapless");
        assert!(stored.at >= at, "time goes forward");
        (seq, at) = (stored.seq, stored.at);
    }
    let over = matches!(before.lifecycle, Lifecycle::Ended { .. });
    assert!(!over || decision.facts.is_empty(), "nothing follows the end: {:?}", decision.facts);
}

/// Whoever uses the sandbox isn't put out of it because the agent is idle.
pub(super) fn is_not_taken_for_idle(decision: &Decision) {
    for stored in &decision.facts {
        match &*stored.fact {
            Fact::SandboxStopping { why, .. } => assert_ne!(*why, StopCause::IdleTooLong, "somebody uses it"),
            Fact::SessionClosing { outcome, .. } => assert_ne!(*outcome, Outcome::TimedOut, "somebody uses it"),
            _ => {}
        }
    }
}

/// What the log said last about a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    folds: [Fold; 2],
    after_usage: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self { folds: [Fold::Idle, Fold::Idle], after_usage: false }
    }
}

impl Said {
    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::SessionRunning { .. } => self.folds = [Fold::Working, Fold::Working],
            Fact::SessionIdle { .. } => {
                assert!(self.after_usage, "usage comes right before the session is idle");
                self.folds = [Fold::Idle, Fold::Waiting];
            }
            Fact::SessionRescheduled { .. } => self.folds = [Fold::Rescheduling, Fold::Rescheduling],
            _ => {}
        }
        self.after_usage = matches!(fact, Fact::UsageRecorded { .. });
    }

    /// The last status said is the one it has, and it is in the table.
    pub(super) fn is_true(self, state: &State) {
        assert!(self.folds.contains(&state.fold()), "says {:?} and is {:?}", self.folds, state.fold());
        assert!(Phase::ALL.contains(&state.phase()));
        assert_eq!(state.summary().phase(), state.phase());
    }
}

/// A request to a model takes along what was said to steer it.
pub(super) fn nothing_steers_in_vain(state: &State) {
    assert!(!state.queue.iter().any(|queued| queued.input.steers()), "the model is asked, and what steers it waits");
}

/// Instructions that came with a message wait with it: nobody reads them alone.
pub(super) fn no_instructions_wait_alone(state: &State) {
    let mut behind = false;
    for queued in &state.queue {
        behind = match &queued.input {
            Input::Message { .. } => true,
            Input::SystemMessage { delivery: Delivery::AfterTurn, .. } => {
                assert!(behind, "instructions wait whose message doesn't: {queued:?}");
                true
            }
            _ => false,
        };
    }
}

/// No call begins that what was said to steer the agent might forbid, unless a person allowed that very call.
pub(super) fn runs_rightly(state: &State, call: ItemId) {
    let steered = state.queue.iter().any(|queued| queued.input.goes_before_calls());
    let approved = state.call(call).is_some_and(|open| open.approved);
    assert!(approved || !steered, "a call begins that nobody knows to be wanted still");
}

/// No call begins in the sandbox while the files are being kept or put back.
pub(super) fn files_are_left_alone(state: &State, call: ItemId) {
    let in_sandbox = state.call(call).is_some_and(|open| open.place.is_sandbox());
    assert!(!in_sandbox || state.files.work.is_none(), "a call begins while {:?}", state.files.work);
}

/// Whoever is asked and says something answers: nothing queues up behind a question.
pub(super) fn nothing_is_asked(state: &State) {
    let asked = state.thread.calls.iter().any(|open| open.progress == CallProgress::Question);
    assert!(!asked, "a message waits for a question that it answers");
}

/// No model is asked beyond the budget: before the request there was something left, and its input still fitted.
pub(super) fn is_within_budget(state: &State) {
    let (Some(budget), Some(spent)) = (state.budget, state.list_cost(state.at)) else { return };
    assert!(spent < budget.limit(), "asked with {spent:?} of {budget:?} spent");
}

/// Whatever is under way has something that will bring it on: an effect in this server's hands, a deadline, or room.
pub(super) fn is_not_stuck(state: &State, world: &World) {
    let waits_for_room = state.sandbox == (Sandbox::Absent { why: Absent::Queued }) && world.waits_for_room;
    let in_hand = |effect: &Effect| world.pending.contains(effect);
    let lost: Vec<Effect> = outstanding(state).into_iter().filter(|effect| !in_hand(effect)).collect();
    assert!(lost.is_empty(), "wanted, and nobody does it: {lost:?}");
    let moving = !world.pending.is_empty() || next_due(state).is_some() || waits_for_room;
    assert!(moving || !is_under_way(state.phase()), "stuck {}", state.phase().name());
    let idle = state.fold() == Fold::Idle && !state.held && state.lifecycle == Lifecycle::Open;
    let waits = !state.queue.is_empty() && !state.budget_reached();
    assert!(!idle || !waits, "idle with input waiting");
}

/// What is added up while a conversation grows and shrinks is what all of it takes.
pub(super) fn counts_its_conversation(state: &State) {
    let transcript = &state.thread.transcript;
    let (mut preface, mut messages) = (Transcript::default(), Transcript::default());
    transcript.preface().into_iter().for_each(|part| preface.push(Role::User, part));
    for message in transcript.messages() {
        message.parts.iter().for_each(|part| messages.push(message.role, part.clone()));
    }
    let anew = preface.tokens() + messages.tokens();
    assert_eq!(transcript.tokens(), anew, "the conversation takes other tokens than were counted");
}

pub(super) fn is_under_way(phase: Phase) -> bool {
    match phase {
        Phase::Closing | Phase::ClosingToArchive | Phase::Stopping | Phase::Rescheduling | Phase::Working => true,
        Phase::WorkQueued | Phase::IdleQueued | Phase::IdleStarting => true,
        Phase::Failed | Phase::TimedOut | Phase::Archived | Phase::Completed | Phase::EndedByUser => false,
        Phase::WaitingStopped | Phase::Waiting | Phase::IdleStopped | Phase::Idle => false,
    }
}
