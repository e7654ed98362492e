//! The log of a session.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tenure_core::fact::StoredFact;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::past::Skipped;
use tenure_core::time::Timestamp;

use crate::append::{Append, AppendError};
use crate::error::Error;
use crate::fork::Fork;
use crate::idempotency::IdempotencyRecord;
use crate::page::{Order, TimeRange};
use crate::resources::ResourceError;

/// The logs of all sessions, and what is written in one transaction with them.
pub trait FactStore {
    /// Adds facts to a session: all of it or nothing. When this returns `Ok`, it survives a loss of power. Appends to
    /// one session that are under way together are decided by `expected_seq`: one succeeds. Dropping the future may or
    /// may not keep the append from happening: read the log again to know.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Makes a session that begins with facts of another: all of it or nothing, and nobody sees it before it is whole.
    /// [`AppendError::Gone`] when the other one doesn't exist (any more), or has fewer facts. Kept answers, kept states and
    /// the feed of the other stay its own; blobs that the copied facts name are named by both.
    ///
    /// What was cut off by the end of the process stays until [`sweep_forks`](Self::sweep_forks); so it does if the future
    /// is dropped.
    fn fork(&self, fork: Fork) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Removes what is left of forks that an earlier process began and didn't end; says how many. Those of this one are
    /// left alone.
    fn sweep_forks(&self) -> BoxFuture<'_, Result<usize, Error>>;

    /// Why writes fail at present, whatever is written: the disk is full, say. `None` as soon as they succeed again, which
    /// is tried about once a second.
    fn trouble(&self) -> Option<String>;

    /// The facts after place `after` (0: from the beginning), oldest first, at most `limit`. Empty at the log's end and
    /// for an unknown session.
    fn read_facts(&self, session: SessionId, after: u64, limit: usize)
    -> BoxFuture<'_, Result<Vec<StoredFact>, Error>>;

    /// The facts that match a query.
    fn query_facts(&self, query: FactQuery) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>>;

    /// The facts at these places, in the order of their places; places beyond the log are left out.
    fn read_facts_at(&self, session: SessionId, seqs: Vec<u64>) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>>;

    /// The place of a session's last fact; `None` for an unknown session.
    fn head(&self, session: SessionId) -> BoxFuture<'_, Result<Option<u64>, Error>>;

    /// The facts after place `after`, first from the log, then as they are stored, each once, in order, without gaps.
    /// It ends with [`Tail::Deleted`] when the session is deleted or unknown, and after an error.
    ///
    /// Only sessions that are followed cost anything; a follower that lags reads the log again instead of losing
    /// facts. Must be polled within a Tokio runtime.
    fn tail(&self, session: SessionId, after: u64) -> BoxStream<'static, Result<Tail, Error>>;

    /// Keeps a session's state so that waking it needn't read its whole log. Disposable: a session that doesn't exist
    /// (any more) is ignored.
    fn save_state(&self, session: SessionId, state: CachedState) -> BoxFuture<'_, Result<(), Error>>;

    /// The state kept for a session.
    fn load_state(&self, session: SessionId) -> BoxFuture<'_, Result<Option<CachedState>, Error>>;

    /// The answer kept under a tenant's key, unless it has expired by `now`.
    fn answer(
        &self,
        tenant: TenantId,
        key: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>>;

    /// Keeps the answer to a request that had nothing to change, so that a repetition finds nothing to change either. It
    /// goes with `session`, if it tells of one.
    fn keep_answer(
        &self,
        answer: IdempotencyRecord,
        session: Option<SessionId>,
    ) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// Forgets the answer under a tenant's key. The write is durable only with the next one that is waited for.
    fn forget_answer(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<(), Error>>;

    /// Forgets up to `limit` answers that have expired by `now`; says how many.
    fn sweep_answers(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, Error>>;
}

/// Which facts of a session to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactQuery {
    /// Which session.
    pub session: SessionId,
    /// Only facts after this place.
    pub after: u64,
    /// Only facts before this place.
    pub before: Option<u64>,
    /// Only these kinds (names as [`Fact::kind`](tenure_core::fact::Fact::kind) gives them).
    pub only: Option<Vec<&'static str>>,
    /// None of these kinds.
    pub except: Vec<&'static str>,
    /// Not these.
    pub skip: Vec<Skipped>,
    /// Only facts that happened then.
    pub at: TimeRange,
    /// Which end to begin at.
    pub order: Order,
    /// The most facts to return.
    pub limit: usize,
}

impl FactQuery {
    /// The whole log of a session, oldest first.
    pub fn all(session: SessionId, limit: usize) -> Self {
        Self {
            session,
            after: 0,
            before: None,
            only: None,
            except: Vec::new(),
            skip: Vec::new(),
            at: TimeRange::default(),
            order: Order::OldestFirst,
            limit,
        }
    }
}

/// What a follower of a session is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Tail {
    /// Facts, in order; at least one. All followers share them.
    Facts(Arc<[StoredFact]>),
    /// The session doesn't exist (any more). Nothing follows.
    Deleted,
}

/// A session's state as of one fact, in a form only its owner understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedState {
    /// The last fact it includes.
    pub seq: u64,
    /// The version of the form; the owner ignores a state of another one.
    pub format: u32,
    /// The state.
    pub blob: Vec<u8>,
}
