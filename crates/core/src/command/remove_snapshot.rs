//! Somebody no longer needs a snapshot.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::id::SnapshotId;

/// Forgets a snapshot. That of an ended session may be removed too.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoveSnapshot {
    /// Which.
    pub snapshot: SnapshotId,
}

impl RemoveSnapshot {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { snapshot } = self;
        if let crate::session::Lifecycle::Closing { outcome, .. } | crate::session::Lifecycle::Ended { outcome, .. } =
            draft.state.lifecycle
        {
            return Err(Refusal::Ended { outcome });
        }
        if draft.state.files.snapshot(snapshot).is_none() {
            return Err(Refusal::NoSuchSnapshot { snapshot });
        }
        if draft.state.files.work.is_some() {
            return Err(Refusal::FilesBusy);
        }
        draft.push(Fact::SnapshotRemoved { snapshot });
        Ok(())
    }
}
