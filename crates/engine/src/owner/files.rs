//! What is done to a session's files besides running calls.

use tenure_core::id::SnapshotId;

use super::Owner;
use crate::sandboxes::Job;

impl Owner<'_> {
    pub(super) fn take_snapshot(&self, snapshot: SnapshotId, most_copied: Option<u64>) {
        let keep = self.shared.config.snapshots_kept;
        self.order(Job::Snapshot { snapshot, most_copied, keep });
    }

    pub(super) fn rewind_files(&self, place: u64, snapshot: Option<SnapshotId>) {
        self.order(Job::Rewind { place, snapshot });
    }

    pub(super) fn keep_snapshots(&self, snapshots: Vec<SnapshotId>) {
        self.order(Job::Keep { snapshots });
    }
}
