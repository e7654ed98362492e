//! What a store in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tenure_core::content::BlobId;
use tenure_core::fact::StoredFact;
use tenure_core::id::{AgentId, EnvironmentId, KeyId, SessionId, TenantId};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::time::Timestamp;

use crate::facts::CachedState;
use crate::feed::FeedEntry;
use crate::idempotency::{IdempotencyRecord, NewAnswer};
use crate::sessions::SessionRow;

#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) purges: BTreeSet<SessionId>,
    pub(super) answers: HashMap<(TenantId, String), Answer>,
    pub(super) feed: Vec<(TenantId, FeedEntry)>,
    pub(super) last_position: u64,
    pub(super) agents: BTreeMap<AgentId, BTreeMap<u32, AgentRecord>>,
    pub(super) environments: BTreeMap<EnvironmentId, EnvironmentRecord>,
    pub(super) keys: BTreeMap<KeyId, KeyRecord>,
    pub(super) blobs: BTreeMap<BlobId, Blob>,
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) settings: BTreeMap<String, String>,
}

pub(super) struct Session {
    pub(super) row: SessionRow,
    pub(super) facts: Vec<StoredFact>,
    pub(super) cache: Option<CachedState>,
}

pub(super) struct Answer {
    pub(super) record: IdempotencyRecord,
    /// The session it tells of, with which it goes.
    pub(super) session: Option<SessionId>,
}

pub(super) struct Blob {
    pub(super) bytes: Arc<[u8]>,
    pub(super) put_at: Timestamp,
}

impl State {
    /// Whether an answer can be kept: `Err` is the one that is in the way.
    pub(super) fn check_answer(&self, new: Option<&IdempotencyRecord>) -> Result<(), Box<IdempotencyRecord>> {
        let Some(new) = new.filter(|new| !new.replaces) else { return Ok(()) };
        match self.answers.get(&(new.tenant, new.key.clone())) {
            Some(kept) if kept.record.expires_at > new.created_at => Err(Box::new(kept.record.clone())),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn keep_answer(&mut self, new: NewAnswer, session: Option<SessionId>) {
        if let Some(record) = new {
            let record = IdempotencyRecord { replaces: false, ..record };
            self.answers.insert((record.tenant, record.key.clone()), Answer { record, session });
        }
    }
}
