//! A tenant's feed: what its sessions went through, in one order.

use serde::{Deserialize, Serialize};
use tenure_core::id::SessionId;
use tenure_core::phase::Phase;
use tenure_core::time::Timestamp;

/// One entry. Entries of deleted sessions vanish and leave gaps; nothing is ever reordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place, rising within the whole store; a cursor.
    pub position: u64,
    /// Which session.
    pub session: SessionId,
    /// The last fact of the append that wrote it.
    pub seq: u64,
    /// When that fact happened.
    pub at: Timestamp,
    /// What it says.
    pub kind: FeedKind,
}

/// What a feed entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedKind {
    /// The session was created.
    Created,
    /// It entered another phase.
    PhaseChanged {
        /// Which.
        phase: Phase,
    },
}
