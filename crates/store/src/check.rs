//! What a check of a store looks for, and how it tells of it.

use std::path::PathBuf;

use serde::Serialize;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::past::Rewind;

use crate::facts::CachedState;
use crate::sessions::SessionRow;

/// Something that is damaged: where, what, what it means, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What part of the store.
    pub part: Part,
    /// The session it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The place of the fact it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The file it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub what: String,
    /// What that means for whoever uses the store.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
    /// Whether [`repair`](crate::sqlite::repair) mends it for certain, because the log has all that is needed.
    pub repairable: bool,
}

/// A part of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The database's own structure.
    Database,
    /// A session's log: its facts, their places and times.
    Log,
    /// A session's row, which lists show.
    Row,
    /// A session's definition.
    Definition,
    /// A session's kept state, which spares replaying its log.
    State,
    /// Which blobs a session names, which keeps them from being swept.
    BlobReference,
    /// A blob's file.
    Blob,
    /// The tenants' feeds.
    Feed,
    /// The list of deleted sessions that have still to be cleared away.
    Purge,
    /// Agents, environments and keys.
    Resource,
    /// Sealed secrets and the master key.
    Secret,
    /// A session's files, and the journals of its calls.
    Files,
}

impl Finding {
    pub(crate) fn new(part: Part, what: impl Into<String>, meaning: &str, remedy: &str) -> Self {
        Self {
            part,
            session: None,
            seq: None,
            path: None,
            what: what.into(),
            meaning: meaning.to_owned(),
            remedy: remedy.to_owned(),
            repairable: false,
        }
    }

    pub(crate) fn of(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    pub(crate) fn at(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    pub(crate) fn repairable(mut self) -> Self {
        self.repairable = true;
        self
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Sessions.
    pub sessions: u64,
    /// Their facts.
    pub facts: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of blobs.
    pub blob_bytes: u64,
}

/// Whoever knows what facts mean, and so what a session's row and kept state have to be. The store replays one session
/// after the other to it.
pub trait Replay {
    /// A session's log follows, which goes back at these places; this is the state that was kept for it.
    fn begin(&mut self, session: SessionId, rewinds: &[Rewind], kept: Option<CachedState>);

    /// The next fact of its log.
    fn fact(&mut self, fact: &StoredFact);

    /// Its log was whole and has ended, and this is its row, if that can be read: what disagrees.
    fn end(&mut self, row: Option<&SessionRow>) -> Vec<Disagreement>;

    /// The row that follows from the log that was just replayed; `None` if none does.
    fn row(&self) -> Option<SessionRow>;
}

/// Something that doesn't follow from a session's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// What: [`Part::Log`], [`Part::Row`], [`Part::Definition`] or [`Part::State`].
    pub part: Part,
    /// In which way.
    pub what: String,
}
