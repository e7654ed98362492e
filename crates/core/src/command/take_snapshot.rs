//! Somebody asks for a snapshot of a session's files, by name.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::files::MAX_NAMED;
use crate::session::{CallProgress, Lifecycle};

/// Keeps the files as they are now, whatever that costs, until the snapshot is removed. Its place in the log can be forked
/// at and rewound to.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeSnapshot {
    /// Its name.
    pub name: String,
}

impl TakeSnapshot {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { name } = self;
        let state = &draft.state;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        if state.files.named(&name).is_some() {
            return Err(Refusal::SnapshotNameTaken { name });
        }
        if state.files.snapshots.iter().filter(|kept| kept.name.is_some()).count() >= MAX_NAMED {
            return Err(Refusal::TooManySnapshots);
        }
        let started =
            |open: &crate::session::OpenCall| open.progress == CallProgress::Started && open.place.is_sandbox();
        if !state.thread.ending.is_empty() || state.thread.calls.iter().any(started) {
            return Err(Refusal::CallRunning);
        }
        if state.files.work.is_some() {
            return Err(Refusal::FilesBusy);
        }
        let snapshot = draft.ids.snapshot();
        draft.push(Fact::SnapshotStarted { snapshot, turn_end: None, name: Some(name) });
        Ok(())
    }
}
