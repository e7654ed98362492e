//! The server has started again.

use super::fail_attempt::wait;
use super::report_sandbox::room;
use crate::agent::Place;
use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::{AfterError, AttemptEnding, CallEnding, Fact, Problem};
use crate::id::{AttemptId, ItemId};
use crate::session::{Absent, Activity, CallProgress, OpenCall, Sandbox};
use crate::state::State;

/// From so many deaths in a row without progress on, work is taken up only after a while.
const WAITS_FROM: u32 = 3;

/// After so many deaths in a row without progress, the turn is over.
const GIVES_UP_AT: u32 = 10;

/// Takes up a session whose work was cut off. A model request is closed and made anew, since its reply is lost for good. A
/// call that the dead server was running is run again if that does no harm, else reported as interrupted. Everything else
/// goes on through the effects that are outstanding.
///
/// It may be the session itself that kills the server. So deaths of the server without progress in between are counted,
/// and from some number on the session waits, longer each time, which gives all that was cut off beside it the time to
/// make progress. In the end the turn is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Recover {
    /// Whether the sandbox that the log speaks of is still alive.
    pub sandbox_alive: bool,
    /// Whether the last server ended as it was asked to. What that cut off isn't held against the session.
    pub ended_cleanly: bool,
    /// The model request that this very server has in flight for the session: it isn't lost, and the session has been
    /// taken up already.
    pub in_flight: Option<AttemptId>,
    /// The calls that this very server runs itself: they aren't lost either.
    pub hosted: Vec<ItemId>,
}

impl Recover {
    #[expect(clippy::unnecessary_wraps, reason = "every command decides with the same signature")]
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { sandbox_alive, ended_cleanly, in_flight, hosted } = self;
        let works_here = match draft.state.thread.activity {
            Activity::Asking { attempt } => in_flight == Some(attempt.id),
            Activity::Calling => hosted_call(&draft.state).is_some_and(|open| hosted.contains(&open.call)),
            Activity::Idle { .. } | Activity::Waiting { .. } | Activity::Rescheduling { .. } => false,
        };
        if works_here {
            find_sandbox(draft, sandbox_alive);
            return Ok(());
        }
        if ended_cleanly || !is_under_way(&draft.state) {
            lose_hosted_call(draft);
            take_up(draft, sandbox_alive);
            return Ok(());
        }
        let times = draft.state.fruitless_recoveries + 1;
        draft.push(Fact::SessionRecovered { fruitless: times });
        lose_hosted_call(draft);
        match times {
            ..WAITS_FROM => take_up(draft, sandbox_alive),
            WAITS_FROM..GIVES_UP_AT => {
                put_off(draft, times);
                set_sandbox_aside(draft, sandbox_alive);
            }
            GIVES_UP_AT.. => {
                give_up(draft, times);
                set_sandbox_aside(draft, sandbox_alive);
            }
        }
        Ok(())
    }
}

/// Whether something was being done for the session that the server may have died of.
fn is_under_way(state: &State) -> bool {
    let called =
        state.thread.calls.iter().any(|open| open.place.is_sandbox() && open.progress == CallProgress::Started);
    let hosted = hosted_call(state).is_some() && is_working(state);
    let in_sandbox = match state.sandbox {
        Sandbox::Starting { .. } => true,
        Sandbox::Running { .. } => !state.thread.ending.is_empty() || (called && is_working(state)),
        Sandbox::Absent { .. } | Sandbox::Stopping { .. } => false,
    };
    in_sandbox || hosted || matches!(state.thread.activity, Activity::Asking { .. })
}

/// The call that a server runs itself, or ran when it died.
fn hosted_call(state: &State) -> Option<&OpenCall> {
    state.thread.calls.iter().find(|open| !open.place.is_sandbox() && open.progress == CallProgress::Started)
}

/// A call that the dead server was running and that mustn't be run twice is reported, since nobody knows how far it got.
fn lose_hosted_call(draft: &mut Draft) {
    let Some(open) = hosted_call(&draft.state) else { return };
    match open.place {
        Place::Sandbox | Place::Server { idempotent: true } => {}
        Place::Server { idempotent: false } => {
            let text = "interrupted, outcome unknown: the server died while it ran this call. Check whether it took effect \
                        before running it again.";
            draft.end_call(open.call, CallEnding::Lost, vec![Block::text(text)], true);
        }
    }
}

fn is_working(state: &State) -> bool {
    match state.thread.activity {
        Activity::Asking { .. } | Activity::Calling => true,
        Activity::Idle { .. } | Activity::Waiting { .. } | Activity::Rescheduling { .. } => false,
    }
}

fn take_up(draft: &mut Draft, sandbox_alive: bool) {
    if let Activity::Asking { attempt } = draft.state.thread.activity {
        draft.end_attempt(attempt, AttemptEnding::Lost);
        draft.ask(attempt.failures);
    }
    find_sandbox(draft, sandbox_alive);
}

/// Says what became of the sandbox. One that was being made or ended is looked after by the effects outstanding.
fn find_sandbox(draft: &mut Draft, alive: bool) {
    match draft.state.sandbox {
        Sandbox::Running { .. } if !alive => lose_sandbox(draft, "the sandbox was gone when the server started again"),
        Sandbox::Absent { why: Absent::Queued } => room(draft),
        Sandbox::Absent { .. } | Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => {}
    }
}

/// Closes what is in flight and goes on after a while.
fn put_off(draft: &mut Draft, times: u32) {
    let failures = match draft.state.thread.activity {
        Activity::Asking { attempt } => {
            draft.end_attempt(attempt, AttemptEnding::Lost);
            attempt.failures
        }
        Activity::Calling => 0,
        Activity::Idle { .. } | Activity::Waiting { .. } | Activity::Rescheduling { .. } => return,
    };
    let item = draft.ids.item();
    draft.push(Fact::ErrorRaised { item, problem: Problem::ServerDied { times }, next: AfterError::Retrying });
    let span = wait(draft.state.definition.retry, times + 1 - WAITS_FROM, None, draft.ids.bits());
    draft.reschedule(failures, span);
}

/// Ends the turn without touching anything in the sandbox, since that may be what the server dies of.
fn give_up(draft: &mut Draft, times: u32) {
    for call in draft.state.thread.ending.clone() {
        draft.push(Fact::CallSettled { call });
    }
    match draft.state.thread.activity {
        Activity::Asking { attempt } => draft.end_attempt(attempt, AttemptEnding::Lost),
        Activity::Calling => {}
        Activity::Idle { .. } | Activity::Waiting { .. } | Activity::Rescheduling { .. } => return,
    }
    for open in draft.state.thread.calls.clone() {
        let (ending, text) = match open.progress {
            CallProgress::Started if !open.place.is_sandbox() => (
                CallEnding::Lost,
                format!("interrupted: the server died {times} times in a row while it ran this call"),
            ),
            CallProgress::Started => (
                CallEnding::Lost,
                format!(
                    "interrupted, outcome unknown: the server died {times} times in a row while this call was open. It \
                     may still be running. Check whether it took effect before running it again."
                ),
            ),
            CallProgress::Ready | CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question => {
                (CallEnding::Skipped, format!("not run: the server died {times} times in a row before it could be"))
            }
        };
        draft.end_call(open.call, ending, vec![Block::text(text)], true);
    }
    draft.give_up(Problem::ServerDied { times });
}

/// Leaves the sandbox alone until it is needed.
fn set_sandbox_aside(draft: &mut Draft, alive: bool) {
    match draft.state.sandbox {
        Sandbox::Starting { sandbox } if alive => draft.push(Fact::SandboxRunning { sandbox }),
        Sandbox::Starting { .. } => lose_sandbox(draft, "the server died while the sandbox was being started"),
        Sandbox::Absent { why: Absent::Queued } => {
            draft.push(Fact::SandboxAbsent { why: Absent::NotYet, reason: None });
        }
        Sandbox::Absent { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => find_sandbox(draft, alive),
    }
}

fn lose_sandbox(draft: &mut Draft, reason: &str) {
    draft.push(Fact::SandboxAbsent { why: Absent::Lost, reason: Some(reason.to_owned()) });
}
