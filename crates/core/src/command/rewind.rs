//! Somebody goes back to an earlier place of a session's log.

use std::sync::Arc;

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::id::SnapshotId;
use crate::past::Past;
use crate::phase::Fold;
use crate::session::{Absent, Lifecycle, Sandbox, StopCause};

/// The conversation and the files become what they were there. Nothing is lost: what is gone back on stays in the log, and
/// a rewind to a place in it brings it back. Input that waits is withdrawn. Refused while a turn is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewind {
    /// The place: a turn's end, or where a named snapshot was asked for.
    pub to: u64,
    /// What the files were there; `None`: what a session starts with.
    pub snapshot: Option<SnapshotId>,
    /// What the conversation was there.
    pub past: Arc<Past>,
}

impl Rewind {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { to, snapshot, past } = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        match draft.state.fold() {
            Fold::Working | Fold::Rescheduling => return Err(Refusal::Busy),
            Fold::Waiting | Fold::Idle => {}
        }
        if draft.state.files.work.is_some() {
            return Err(Refusal::FilesBusy);
        }
        if let Some(snapshot) = snapshot.filter(|snapshot| draft.state.files.snapshot(*snapshot).is_none()) {
            return Err(Refusal::NoSuchSnapshot { snapshot });
        }
        let queued: Vec<_> = draft.state.queue.iter().map(|queued| (queued.item, queued.input.clone())).collect();
        for (item, input) in queued {
            draft.push(Fact::InputWithdrawn { item, thread: draft.state.thread.id, input });
        }
        let files = snapshot.is_some() || !draft.state.files.are_untouched();
        if files {
            if draft.state.sandbox == (Sandbox::Absent { why: Absent::Queued }) {
                draft.push(Fact::SandboxAbsent { why: Absent::NotYet, reason: None });
            }
            draft.stop_sandbox(StopCause::Asked);
        }
        draft.push(Fact::SessionRewound { to, snapshot, files });
        draft.state.go_back(&past);
        draft.come_apart("the session was rewound to where this call had no result yet");
        Ok(())
    }
}
