//! Something became of a session's files.

use crate::decide::{Draft, Refusal};
use crate::fact::{AfterError, Fact, Problem};
use crate::files::{FilesWork, SnapshotEnding};
use crate::id::SnapshotId;

/// The outcome of an effect on the files. One that nobody waits for changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFiles {
    /// What became of them.
    pub report: FilesReport,
}

/// What became of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesReport {
    /// A snapshot was taken, or not.
    Snapshot {
        /// Which.
        snapshot: SnapshotId,
        /// How that ended.
        ending: SnapshotEnding,
        /// How many snapshots without a name are kept, if the operator limits them; older ones go.
        keep: Option<usize>,
    },
    /// They were put back.
    Rewound {
        /// The place of the fact that asked for it.
        place: u64,
        /// Why they weren't, if they weren't.
        failed: Option<String>,
    },
}

impl ReportFiles {
    #[expect(clippy::unnecessary_wraps, reason = "every command decides with the same signature")]
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        match (self.report, draft.state.files.work.clone()) {
            (FilesReport::Snapshot { snapshot, ending, keep }, Some(FilesWork::Snapshot { snapshot: wanted, .. }))
                if snapshot == wanted =>
            {
                draft.push(Fact::SnapshotEnded { snapshot, ending });
                if let Some(keep) = keep {
                    drop_oldest(draft, keep);
                }
            }
            (FilesReport::Rewound { place, failed }, Some(FilesWork::Rewind { place: wanted, .. }))
                if place == wanted =>
            {
                draft.push(Fact::FilesRewound { failed: failed.clone() });
                if let Some(reason) = failed {
                    let message = format!("the files couldn't be put back when the session was rewound: {reason}");
                    let (item, problem) = (draft.ids.item(), Problem::Sandbox { message });
                    draft.push(Fact::ErrorRaised { item, problem, next: AfterError::TurnOver });
                }
            }
            (FilesReport::Snapshot { .. } | FilesReport::Rewound { .. }, _) => {}
        }
        Ok(())
    }
}

/// The newest always stays: the files are what it holds.
fn drop_oldest(draft: &mut Draft, keep: usize) {
    let nameless = draft.state.files.snapshots.iter().filter(|kept| kept.name.is_none());
    let ids: Vec<SnapshotId> = nameless.map(|kept| kept.id).collect();
    for snapshot in ids.iter().take(ids.len().saturating_sub(keep.max(1))) {
        draft.push(Fact::SnapshotRemoved { snapshot: *snapshot });
    }
}
