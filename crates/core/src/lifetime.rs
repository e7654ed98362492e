//! What is due by itself. Deadlines are functions of the state, so they are as durable as the facts they follow from.

use crate::decide::Draft;
use crate::fact::Fact;
use crate::phase::Fold;
use crate::session::{Activity, IdleThen, Lifecycle, Sandbox, StopCause};
use crate::state::State;
use crate::time::Timestamp;

/// How many times at most, while an idle clock runs once, it is noted that people use the sandbox: a fact for each command would
/// make logs long, and the clock is too early by no more than this part of it.
const NOTED_PER_CLOCK: u32 = 60;

/// The next moment at which something is due, if nothing else happens before.
pub fn next_due(state: &State) -> Option<Timestamp> {
    all_due(state).into_iter().flatten().map(|(at, _)| at).min()
}

/// Applies everything that is due by the draft's time, the earliest first.
pub(crate) fn apply_due(draft: &mut Draft) {
    apply(draft, |_| true);
}

/// The same, but nothing is tried again.
pub(crate) fn apply_due_ends(draft: &mut Draft) {
    apply(draft, |due| !matches!(due, Due::Retry { .. }));
}

/// Whether it is to be noted that somebody uses the sandbox: a clock runs, and hasn't just begun to.
pub(crate) fn use_counts(state: &State, at: Timestamp) -> bool {
    let lifetimes = &state.definition.lifetimes;
    let clocks =
        [idle(state).and(lifetimes.idle).map(|rule| rule.after), sandbox_idle(state).and(lifetimes.sandbox_idle)];
    let shortest = clocks.into_iter().flatten().min();
    shortest.is_some_and(|clock| state.last_active_at.after(clock / NOTED_PER_CLOCK) <= at)
}

fn apply(draft: &mut Draft, wanted: impl Fn(Due) -> bool) {
    let in_use = draft.in_use;
    let mut all = all_due(&draft.state).into_iter().flatten();
    if in_use && all.any(|(at, due)| at <= draft.at && due.is_idleness()) {
        draft.push(Fact::FilesChanged {});
    }
    let wanted = |due: Due| wanted(due) && !(in_use && due.is_idleness());
    loop {
        let due = all_due(&draft.state).into_iter().flatten().filter(|(at, due)| *at <= draft.at && wanted(*due));
        match due.min_by_key(|(at, _)| *at) {
            None => return,
            Some((_, Due::Retry { failures })) => draft.retry(failures),
            Some((_, Due::SandboxIdle)) => draft.stop_sandbox(StopCause::IdleTooLong),
            Some((_, Due::Idle { then: IdleThen::Stop } | Due::TooLong)) => draft.hold(),
            Some((_, Due::Idle { then: IdleThen::End { outcome, keep } })) => draft.close(outcome, keep),
        }
    }
}

/// Something that happens by itself.
#[derive(Debug, Clone, Copy)]
enum Due {
    Retry { failures: u32 },
    SandboxIdle,
    Idle { then: IdleThen },
    TooLong,
}

impl Due {
    /// Whether it happens because nobody does anything.
    fn is_idleness(self) -> bool {
        match self {
            Self::SandboxIdle | Self::Idle { .. } => true,
            Self::Retry { .. } | Self::TooLong => false,
        }
    }
}

fn all_due(state: &State) -> [Option<(Timestamp, Due)>; 4] {
    match state.lifecycle {
        Lifecycle::Open => [retry(state), sandbox_idle(state), idle(state), too_long(state)],
        Lifecycle::Closing { .. } | Lifecycle::Ended { .. } => [None; 4],
    }
}

fn retry(state: &State) -> Option<(Timestamp, Due)> {
    match state.thread.activity {
        Activity::Rescheduling { failures, until } => Some((until, Due::Retry { failures })),
        Activity::Idle { .. } | Activity::Asking { .. } | Activity::Calling | Activity::Waiting { .. } => None,
    }
}

fn sandbox_idle(state: &State) -> Option<(Timestamp, Due)> {
    let after = state.definition.lifetimes.sandbox_idle?;
    let Sandbox::Running { since: started, .. } = state.sandbox else { return None };
    let since = match state.thread.activity {
        Activity::Idle { since, .. } | Activity::Waiting { since } => since,
        Activity::Asking { .. } | Activity::Calling | Activity::Rescheduling { .. } => return None,
    };
    Some((since.max(started).max(state.last_active_at).after(after), Due::SandboxIdle))
}

fn idle(state: &State) -> Option<(Timestamp, Due)> {
    let rule = state.definition.lifetimes.idle?;
    let stopped_already = state.held && rule.then == IdleThen::Stop;
    (state.fold() == Fold::Idle && !stopped_already)
        .then(|| (state.last_active_at.after(rule.after), Due::Idle { then: rule.then }))
}

fn too_long(state: &State) -> Option<(Timestamp, Due)> {
    let most = state.definition.lifetimes.max_duration?;
    match state.sandbox {
        Sandbox::Running { since, .. } => Some((since.after(most), Due::TooLong)),
        Sandbox::Absent { .. } | Sandbox::Starting { .. } | Sandbox::Stopping { .. } => None,
    }
}
