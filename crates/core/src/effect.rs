//! What a session wants done in the world.
//!
//! An effect is carried out only after the fact that asks for it is stored; its outcome comes back as a command. Each
//! names what it is for, so that a repeated effect is the same piece of work and a stale outcome is told apart.

use std::time::Duration;

use crate::agent::Place;
use crate::fact::{AttemptEnding, CallEnding, Fact};
use crate::files::{FilesWork, MOST_COPIED};
use crate::id::{AttemptId, ItemId, SandboxId, SnapshotId};
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
    /// Take a snapshot of the files; answered by `ReportFiles`.
    TakeSnapshot {
        /// Which.
        snapshot: SnapshotId,
        /// The most bytes that may be copied for it; `None` is any number.
        most_copied: Option<u64>,
    },
    /// Put the files back; answered by `ReportFiles`.
    RewindFiles {
        /// The place of the fact that asks for it.
        place: u64,
        /// To what this snapshot holds; `None`: to what a session starts with.
        snapshot: Option<SnapshotId>,
    },
    /// Forget all snapshots but these; not answered.
    KeepSnapshots {
        /// Those that stay.
        keep: Vec<SnapshotId>,
    },
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
            Self::TakeSnapshot { .. } => "take_snapshot",
            Self::RewindFiles { .. } => "rewind_files",
            Self::KeepSnapshots { .. } => "keep_snapshots",
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
        Fact::SnapshotStarted { .. } | Fact::SessionRewound { files: true, .. } => {
            files_work(state).into_iter().collect()
        }
        Fact::SnapshotRemoved { .. } => vec![Effect::KeepSnapshots { keep: state.files.kept() }],
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
        | Fact::SnapshotEnded { .. }
        | Fact::FilesChanged {}
        | Fact::SessionRewound { .. }
        | Fact::FilesRewound { .. }
        | Fact::SessionForked { .. }
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
    wanted.extend(files_work(state));
    wanted.extend(hosted_calls(state));
    wanted
}

/// What is being done to the files. It comes after whatever is done to the sandbox.
fn files_work(state: &State) -> Option<Effect> {
    match state.files.work.as_ref()? {
        FilesWork::Snapshot { snapshot, name, .. } => {
            let most_copied = name.is_none().then_some(MOST_COPIED);
            Some(Effect::TakeSnapshot { snapshot: *snapshot, most_copied })
        }
        FilesWork::Rewind { place, snapshot } => Some(Effect::RewindFiles { place: *place, snapshot: *snapshot }),
    }
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
