//! What is known of a session's files: which snapshots of them there are, and what is being done to them. The files
//! themselves are the sandbox's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::SnapshotId;
use crate::time::Timestamp;

/// The most bytes that are copied for the snapshot at a turn's end. One that somebody asks for by name is copied whatever
/// its size.
pub const MOST_COPIED: u64 = 64 << 20;

/// The most snapshots of a session that have a name.
pub const MAX_NAMED: usize = 100;

/// The most characters of a snapshot's name.
pub const MAX_NAME: usize = 64;

/// A session's files, as its log knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Whether something may have written to them since they were equal to `current`.
    pub changed: bool,
    /// The snapshot that they were equal to last; `None`: what a session starts with.
    pub current: Option<SnapshotId>,
    /// The place of the turn's end whose snapshot waits until cancelled calls are over.
    pub due: Option<u64>,
    /// What is being done to them. No call begins in the sandbox meanwhile.
    pub work: Option<FilesWork>,
    /// The snapshots that are kept, oldest first. Shared, since deciding copies the state.
    pub snapshots: Arc<Vec<Snapshot>>,
}

impl Files {
    /// Whether they are still what a session starts with.
    pub fn are_untouched(&self) -> bool {
        !self.changed && self.current.is_none() && self.work.is_none()
    }

    /// A snapshot that is kept.
    pub fn snapshot(&self, id: SnapshotId) -> Option<&Snapshot> {
        self.snapshots.iter().find(|kept| kept.id == id)
    }

    /// The snapshot of that name.
    pub fn named(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|kept| kept.name.as_deref() == Some(name))
    }

    /// The ids of all that are kept.
    pub fn kept(&self) -> Vec<SnapshotId> {
        self.snapshots.iter().map(|kept| kept.id).collect()
    }

    pub(crate) fn begin_snapshot(&mut self, snapshot: SnapshotId, point: u64, name: Option<String>) {
        self.work = Some(FilesWork::Snapshot { snapshot, point, name });
        self.due = None;
        // Whatever is written from now on isn't in it.
        self.changed = false;
    }

    pub(crate) fn end_snapshot(&mut self, snapshot: SnapshotId, ending: &SnapshotEnding, at: Timestamp) {
        let Some(FilesWork::Snapshot { point, name, .. }) = self.work.take() else { return };
        if ending.is_taken() {
            let taken = Snapshot { id: snapshot, point, name, at, ending: ending.clone() };
            Arc::make_mut(&mut self.snapshots).push(taken);
            self.current = Some(snapshot);
        } else {
            self.changed = true;
        }
    }

    pub(crate) fn remove_snapshot(&mut self, snapshot: SnapshotId) {
        Arc::make_mut(&mut self.snapshots).retain(|kept| kept.id != snapshot);
        if self.current == Some(snapshot) {
            (self.current, self.changed) = (None, true);
        }
    }

    pub(crate) fn end_rewind(&mut self, put_back: bool) {
        let Some(FilesWork::Rewind { snapshot, .. }) = self.work.take() else { return };
        self.due = None;
        match put_back {
            true => (self.current, self.changed) = (snapshot, false),
            false => self.changed = true,
        }
    }
}

/// Something that is being done to a session's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FilesWork {
    /// A snapshot is being taken.
    Snapshot {
        /// Which.
        snapshot: SnapshotId,
        /// The place of the log it belongs to.
        point: u64,
        /// Its name, if somebody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// They are being put back.
    Rewind {
        /// The place of the fact that asked for it.
        place: u64,
        /// To what this snapshot holds; `None`: to what a session starts with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<SnapshotId>,
    },
}

/// A snapshot of a session's files that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The place of the log it belongs to: a turn's end, or where somebody asked for it.
    pub point: u64,
    /// Its name, if somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was taken.
    pub at: Timestamp,
    /// How.
    pub ending: SnapshotEnding,
}

/// How the taking of a snapshot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum SnapshotEnding {
    /// What had been written since the last one was put aside as it is, at no cost.
    Sealed,
    /// Processes went on living, so it was copied.
    Copied {
        /// Bytes of files in it.
        bytes: u64,
    },
    /// Nothing had changed since the last one.
    Reused,
    /// There is none: processes went on living, and more would have had to be copied than is allowed at a turn's end.
    Skipped {
        /// Bytes of files that would have had to be copied, as far as they were counted.
        bytes: u64,
    },
    /// There is none.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

impl SnapshotEnding {
    /// Whether there is a snapshot now.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Sealed | Self::Copied { .. } | Self::Reused => true,
            Self::Skipped { .. } | Self::Failed { .. } => false,
        }
    }
}

/// What is wrong with a snapshot's name, if something is: it must be told apart from places in the log and from ids.
pub fn name_fault(name: &str) -> Option<String> {
    let sane = |at: usize, c: char| c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | '-'));
    if name.is_empty() || name.chars().count() > MAX_NAME || !name.chars().enumerate().all(|(at, c)| sane(at, c)) {
        return Some(format!(
            "expected 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`, the first a letter or digit"
        ));
    }
    let like_a_place = name.chars().all(|c| c.is_ascii_digit() || c == '.');
    let like_an_id = ["snap_", "sevt_"].iter().any(|prefix| name.starts_with(prefix));
    (like_a_place || like_an_id).then(|| "expected a name that doesn't look like a number or an id".to_owned())
}
