//! What a session wants done in the world.
//!
//! An effect is carried out only after the fact that asks for it is stored; its outcome comes back as a command. Each
//! names what it is for, so that a repeated effect is the same piece of work and a stale outcome is told apart.

use std::time::Duration;

use crate::agent::Place;
use crate::fact::{AttemptEnding, CallEnding, Fact};
use crate::id::{AttemptId, ItemId, SandboxId};
use crate::session::{Activity, CallProgress, Keep, Lifecycle, Sandbox};
use crate::state::State;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the model; answered by `FinishAttempt` or `FailAttempt`.
    CallModel {
        /// The token the answer carries.
        attempt: AttemptId,
    },
    /// Stop asking the model; not answered.
    CancelModel {
        /// Which request.
        attempt: AttemptId,
    },
    /// Run a call in the sandbox, or take up one that is already there; answered by `FinishCall`.
    RunCall {
        /// Which.
        call: ItemId,
    },
    /// End a call and everything it started; answered by `FinishCall`.
    CancelCall {
        /// Which.
        call: ItemId,
    },
    /// Run a call in the server itself, or again if its server died; answered by `FinishCall`.
    RunHostedCall {
        /// Which.
        call: ItemId,
    },
    /// Give up a call that the server runs; not answered.
    EndHostedCall {
        /// Which.
        call: ItemId,
    },
    /// Make the sandbox, or attach to it; answered by `ReportSandbox`.
    StartSandbox {
        /// Which.
        sandbox: SandboxId,
    },
    /// End the sandbox's processes; answered by `ReportSandbox`.
    StopSandbox {
        /// Which.
        sandbox: SandboxId,
        /// Time between asking the processes to end and ending them.
        grace: Duration,
    },
    /// Remove the session's files; answered by `ReportSandbox`.
    RemoveFiles,
}

impl Effect {
    /// The effect's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CallModel { .. } => "call_model",
            Self::CancelModel { .. } => "cancel_model",
            Self::RunCall { .. } => "run_call",
            Self::CancelCall { .. } => "cancel_call",
            Self::RunHostedCall { .. } => "run_hosted_call",
            Self::EndHostedCall { .. } => "end_hosted_call",
            Self::StartSandbox { .. } => "start_sandbox",
            Self::StopSandbox { .. } => "stop_sandbox",
            Self::RemoveFiles => "remove_files",
        }
    }
}

/// What a fact, once stored, asks for. `state` already holds it.
pub fn effects(state: &State, fact: &Fact) -> Vec<Effect> {
    match fact {
        Fact::AttemptStarted { attempt, .. } => vec![Effect::CallModel { attempt: *attempt }],
        Fact::AttemptEnded { attempt, ending: AttemptEnding::Interrupted, .. } => {
            vec![Effect::CancelModel { attempt: *attempt }]
        }
        Fact::CallStarted { call } => match state.call(*call).map_or(Place::default(), |open| open.place) {
            Place::Sandbox => vec![Effect::RunCall { call: *call }],
            Place::Server { .. } => vec![Effect::RunHostedCall { call: *call }],
        },
        Fact::CallEnded { call, ending: CallEnding::Cancelled, .. } => vec![Effect::CancelCall { call: *call }],
        Fact::CallEnded { call, ending: CallEnding::Interrupted, .. } => vec![Effect::EndHostedCall { call: *call }],
        Fact::SandboxStarting { sandbox } => vec![Effect::StartSandbox { sandbox: *sandbox }],
        // A call that had started when the last sandbox died is judged by its journal in the new one.
        Fact::SandboxRunning { .. } => in_sandbox(state),
        // So is one that waited for its session to be taken up again, and one that the server was running goes on.
        Fact::ThreadRunning { .. } => started_calls(state).into_iter().chain(hosted_calls(state)).collect(),
        Fact::SandboxStopping { sandbox, .. } => vec![stop(state, *sandbox)],
        Fact::SessionClosing { .. } | Fact::SandboxAbsent { .. } => removal(state),
        Fact::AttemptEnded { .. }
        | Fact::CallEnded { .. }
        | Fact::CallSettled { .. }
        | Fact::SessionCreated { .. }
        | Fact::SessionUpdated { .. }
        | Fact::InputQueued { .. }
        | Fact::InputProcessed { .. }
        | Fact::InputWithdrawn { .. }
        | Fact::ThreadIdle { .. }
        | Fact::ThreadRescheduled { .. }
        | Fact::SessionRunning { .. }
        | Fact::SessionIdle { .. }
        | Fact::SessionRescheduled { .. }
        | Fact::UsageRecorded { .. }
        | Fact::ThinkingSaid { .. }
        | Fact::MessageSaid { .. }
        | Fact::CallRequested { .. }
        | Fact::ConversationCompacted { .. }
        | Fact::ErrorRaised { .. }
        | Fact::SessionRecovered { .. }
        | Fact::SessionHeld {}
        | Fact::SessionResumed {}
        | Fact::SessionEnded { .. } => Vec::new(),
    }
}

/// What a restart must take up again: every effect whose outcome isn't in the log.
pub fn outstanding(state: &State) -> Vec<Effect> {
    let mut wanted = Vec::new();
    if let Activity::Asking { attempt } = state.thread.activity {
        wanted.push(Effect::CallModel { attempt: attempt.id });
    }
    match state.sandbox {
        Sandbox::Absent { .. } => wanted.extend(removal(state)),
        Sandbox::Starting { sandbox } => wanted.push(Effect::StartSandbox { sandbox }),
        Sandbox::Running { .. } => wanted.extend(in_sandbox(state)),
        Sandbox::Stopping { sandbox, .. } => wanted.push(stop(state, sandbox)),
    }
    wanted.extend(hosted_calls(state));
    wanted
}

/// What the sandbox has to hear when it is there: which calls to end, and which to run or take up.
fn in_sandbox(state: &State) -> Vec<Effect> {
    let cancelled = state.thread.ending.iter().map(|call| Effect::CancelCall { call: *call });
    cancelled.chain(started_calls(state)).collect()
}

/// Calls that are in the sandbox, unless taking them up has to wait.
fn started_calls(state: &State) -> Vec<Effect> {
    match state.sandbox {
        Sandbox::Running { .. } => {
            started(state, |place| place.is_sandbox()).map(|call| Effect::RunCall { call }).collect()
        }
        Sandbox::Absent { .. } | Sandbox::Starting { .. } | Sandbox::Stopping { .. } => Vec::new(),
    }
}

/// Calls that the server was running and that may be run again, unless taking them up has to wait.
fn hosted_calls(state: &State) -> Vec<Effect> {
    let again = |place: &Place| *place == Place::Server { idempotent: true };
    started(state, again).map(|call| Effect::RunHostedCall { call }).collect()
}

fn started(state: &State, there: fn(&Place) -> bool) -> impl Iterator<Item = ItemId> {
    let waits = matches!(state.thread.activity, Activity::Rescheduling { .. });
    let started = state.thread.calls.iter().filter(|open| open.progress == CallProgress::Started);
    started.filter(move |open| !waits && there(&open.place)).map(|open| open.call)
}

/// A session that closes without keeping its files loses them once no process can write to them.
fn removal(state: &State) -> Vec<Effect> {
    match (&state.lifecycle, &state.sandbox) {
        (Lifecycle::Closing { keep: Keep::Log, .. }, Sandbox::Absent { .. }) => vec![Effect::RemoveFiles],
        _ => Vec::new(),
    }
}

fn stop(state: &State, sandbox: SandboxId) -> Effect {
    Effect::StopSandbox { sandbox, grace: state.definition.lifetimes.stop_grace }
}
