//! Something became of the sandbox.

use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::{AfterError, CallEnding, Fact, Problem};
use crate::id::{ItemId, SandboxId};
use crate::session::{Absent, CallProgress, Lifecycle, OpenCall, Sandbox, StopCause};

/// The outcome of an effect on the sandbox, or its own end. A report on another sandbox than the present one changes
/// nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportSandbox {
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// What became of it.
    pub report: SandboxReport,
}

/// What became of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxReport {
    /// It is there.
    Started,
    /// There is no room for it yet.
    Queued,
    /// There is room again. Any id will do: none waits for one.
    Room,
    /// It couldn't be made.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// It ended as asked.
    Stopped,
    /// It died.
    Lost {
        /// How, for a person.
        reason: String,
    },
    /// The session's files are gone. Any id will do.
    FilesRemoved,
}

impl ReportSandbox {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let present = match draft.state.sandbox {
            Sandbox::Absent { .. } => None,
            Sandbox::Starting { sandbox } | Sandbox::Running { sandbox, .. } | Sandbox::Stopping { sandbox, .. } => {
                Some(sandbox)
            }
        };
        let concerns = present == Some(self.sandbox);
        match self.report {
            SandboxReport::Started if concerns => started(draft, self.sandbox),
            SandboxReport::Queued if concerns => queued(draft),
            SandboxReport::Failed { reason } if concerns => failed(draft, reason),
            SandboxReport::Stopped if concerns => {
                let why = after_stop(draft);
                draft.push(Fact::SandboxAbsent { why, reason: None });
            }
            SandboxReport::Lost { reason } if concerns => lost(draft, reason),
            SandboxReport::Room => room(draft),
            SandboxReport::FilesRemoved => files_removed(draft),
            SandboxReport::Started
            | SandboxReport::Queued
            | SandboxReport::Failed { .. }
            | SandboxReport::Stopped
            | SandboxReport::Lost { .. } => {}
        }
        Ok(())
    }
}

fn started(draft: &mut Draft, sandbox: SandboxId) {
    match draft.state.sandbox {
        Sandbox::Starting { .. } => draft.push(Fact::SandboxRunning { sandbox }),
        // It was asked to stop before it was there, or it is there already.
        Sandbox::Stopping { .. } | Sandbox::Running { .. } | Sandbox::Absent { .. } => {}
    }
}

fn queued(draft: &mut Draft) {
    let why = match draft.state.sandbox {
        // It needn't wait for room: it was asked to stop meanwhile.
        Sandbox::Stopping { .. } => after_stop(draft),
        Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Absent { .. } => Absent::Queued,
    };
    draft.push(Fact::SandboxAbsent { why, reason: None });
}

/// Without a sandbox no call can run in it, and asking the model again would only repeat it: the turn is over. A call that
/// the server is running comes to its end.
fn failed(draft: &mut Draft, reason: String) {
    draft.push(Fact::SandboxAbsent { why: Absent::Lost, reason: Some(reason.clone()) });
    let here = |open: &&OpenCall| open.place.is_sandbox() || open.progress != CallProgress::Started;
    let runnable = draft.state.thread.calls.iter().filter(|open| !open.is_blocked()).filter(here);
    let stuck: Vec<(ItemId, CallProgress)> = runnable.map(|open| (open.call, open.progress)).collect();
    if stuck.is_empty() {
        let (item, problem) = (draft.ids.item(), Problem::Sandbox { message: reason });
        return draft.push(Fact::ErrorRaised { item, problem, next: AfterError::TurnOver });
    }
    for (call, progress) in stuck {
        let (ending, text) = match progress {
            CallProgress::Started => (
                CallEnding::Lost,
                format!("interrupted, outcome unknown: the sandbox couldn't be started again: {reason}"),
            ),
            CallProgress::Ready | CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question => {
                (CallEnding::Skipped, format!("not run: the sandbox couldn't be started: {reason}"))
            }
        };
        draft.end_call(call, ending, vec![Block::text(text)], true);
    }
    if draft.state.thread.calls.is_empty() {
        draft.give_up(Problem::Sandbox { message: reason });
    }
}

fn after_stop(draft: &Draft) -> Absent {
    match draft.state.sandbox {
        // Somebody spoke to it, or resumed it, while it was stopping.
        Sandbox::Stopping { why: StopCause::Asked, .. } if !draft.state.held => Absent::NotYet,
        Sandbox::Stopping { .. } | Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Absent { .. } => {
            Absent::Stopped
        }
    }
}

fn lost(draft: &mut Draft, reason: String) {
    let why = match draft.state.sandbox {
        Sandbox::Stopping { .. } => after_stop(draft),
        Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Absent { .. } => Absent::Lost,
    };
    draft.push(Fact::SandboxAbsent { why, reason: Some(reason) });
}

pub(super) fn room(draft: &mut Draft) {
    let open = draft.state.lifecycle == Lifecycle::Open;
    if open && draft.state.sandbox == (Sandbox::Absent { why: Absent::Queued }) {
        let sandbox = draft.ids.sandbox();
        draft.push(Fact::SandboxStarting { sandbox });
    }
}

fn files_removed(draft: &mut Draft) {
    if let Lifecycle::Closing { outcome, .. } = draft.state.lifecycle {
        draft.finish_closing(outcome);
    }
}
