//! Where a session comes from that was made from another.

use serde::{Deserialize, Serialize};

use crate::id::{SessionId, SnapshotId};

/// What a session was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The other session.
    pub session: SessionId,
    /// The place of its log.
    pub at: u64,
    /// What was taken over.
    pub what: ForkKind,
    /// The snapshot whose files it began with; `None`: it began without files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// What a session takes over from the one it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkKind {
    /// Its conversation: the two have the same log up to that place.
    Fork,
    /// How it was set up, and nothing that was said.
    Clone,
}
