//! Logs in memory.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tenure_core::fact::StoredFact;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::time::Timestamp;

use super::MemoryStore;
use super::state::{Session, State};
use crate::append::{Append, AppendError, LogEnd};
use crate::error::Error;
use crate::facts::{CachedState, FactQuery, FactStore, Tail};
use crate::feed::FeedEntry;
use crate::fork::Fork;
use crate::idempotency::IdempotencyRecord;
use crate::page::Order;
use crate::resources::ResourceError;
use crate::sessions::SessionRow;
use crate::tails::{LOG_PAGE, ReadLog};

impl FactStore for MemoryStore {
    fn trouble(&self) -> Option<String> {
        None
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            append.check()?;
            // Published under the lock: followers hear of commits in their order.
            let mut state = self.lock();
            let (session, facts) = (append.session, append.facts.clone());
            state.append(append)?;
            self.hub.publish(session, || facts.into());
            Ok(())
        })
    }

    fn fork(&self, fork: Fork) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            fork.check()?;
            let mut state = self.lock();
            let (session, facts) = (fork.append.session, fork.append.facts.clone());
            state.fork(fork)?;
            self.hub.publish(session, || facts.into());
            Ok(())
        })
    }

    fn sweep_forks(&self) -> BoxFuture<'_, Result<usize, Error>> {
        // All of a fork is done in one step.
        self.step(|_| Ok(0))
    }

    fn read_facts(
        &self,
        session: SessionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        Box::pin(async move {
            let facts = self.lock().facts_after(session, after, limit).unwrap_or_default();
            Ok(self.count(facts))
        })
    }

    fn query_facts(&self, query: FactQuery) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        Box::pin(async move {
            let state = self.lock();
            let Some(session) = state.sessions.get(&query.session) else { return Ok(Vec::new()) };
            let wanted = |stored: &&StoredFact| {
                stored.seq > query.after
                    && query.before.is_none_or(|before| stored.seq < before)
                    && query.only.as_ref().is_none_or(|only| only.contains(&stored.fact.kind()))
                    && !query.except.contains(&stored.fact.kind())
                    && !query.skip.iter().any(|skipped| skipped.contains(stored.seq))
                    && query.at.contains(stored.at)
            };
            let found = session.facts.iter().filter(wanted);
            Ok(self.count(match query.order {
                Order::OldestFirst => found.take(query.limit).cloned().collect(),
                Order::NewestFirst => found.rev().take(query.limit).cloned().collect(),
            }))
        })
    }

    fn read_facts_at(&self, session: SessionId, mut seqs: Vec<u64>) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        Box::pin(async move {
            seqs.sort_unstable();
            seqs.dedup();
            let state = self.lock();
            let facts = state.sessions.get(&session).map(|session| session.facts.as_slice()).unwrap_or_default();
            Ok(self.count(seqs.iter().filter_map(|seq| facts.get(index_of(*seq)?)).cloned().collect()))
        })
    }

    fn head(&self, session: SessionId) -> BoxFuture<'_, Result<Option<u64>, Error>> {
        self.step(move |state| Ok(state.end(session).map(|end| end.seq)))
    }

    fn tail(&self, session: SessionId, after: u64) -> BoxStream<'static, Result<Tail, Error>> {
        let store = self.clone();
        let read: ReadLog = Arc::new(move |session, after| {
            let page = store.lock().facts_after(session, after, LOG_PAGE);
            Box::pin(async move { Ok(page) })
        });
        self.hub.follow(session, after, read)
    }

    fn save_state(&self, session: SessionId, cache: CachedState) -> BoxFuture<'_, Result<(), Error>> {
        self.step(move |state| {
            if let Some(session) = state.sessions.get_mut(&session) {
                session.cache = Some(cache);
            }
            Ok(())
        })
    }

    fn load_state(&self, session: SessionId) -> BoxFuture<'_, Result<Option<CachedState>, Error>> {
        self.step(move |state| Ok(state.sessions.get(&session).and_then(|session| session.cache.clone())))
    }

    fn answer(
        &self,
        tenant: TenantId,
        key: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>> {
        self.step(move |state| {
            let kept = state.answers.get(&(tenant, key)).filter(|kept| kept.record.expires_at > now);
            Ok(kept.map(|kept| kept.record.clone()))
        })
    }

    fn keep_answer(
        &self,
        answer: IdempotencyRecord,
        session: Option<SessionId>,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(Some(&answer)).map_err(ResourceError::KeyTaken)?;
            state.keep_answer(Some(answer), session);
            Ok(())
        })
    }

    fn forget_answer(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<(), Error>> {
        self.step(move |state| {
            state.answers.remove(&(tenant, key));
            Ok(())
        })
    }

    fn sweep_answers(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, Error>> {
        self.step(move |state| {
            let expired = state.answers.iter().filter(|(_, kept)| kept.record.expires_at <= now);
            let expired: Vec<_> = expired.map(|(key, _)| key.clone()).take(limit).collect();
            for key in &expired {
                state.answers.remove(key);
            }
            Ok(expired.len())
        })
    }
}

impl State {
    fn fork(&mut self, fork: Fork) -> Result<(), AppendError> {
        let Fork { from, mut append } = fork;
        let id = append.session;
        let copied = usize::try_from(append.expected_seq).unwrap_or(usize::MAX);
        let facts = self.sessions.get(&from).and_then(|other| other.facts.get(..copied)).ok_or(AppendError::Gone)?;
        if self.sessions.contains_key(&id) {
            return Err(AppendError::Conflict { actual: self.end(id).map_or(0, |end| end.seq) });
        }
        let last = facts.last().map(|last| LogEnd { seq: last.seq, at: last.at });
        append.check_against(last)?;
        let copy = facts.iter().map(|stored| StoredFact { session: id, ..stored.clone() });
        append.facts = copy.chain(append.facts).collect();
        append.expected_seq = 0;
        self.append(append)
    }

    fn append(&mut self, append: Append) -> Result<(), AppendError> {
        if self.purges.contains(&append.session) {
            return Err(AppendError::Gone);
        }
        append.check_against(self.end(append.session))?;
        self.check_answer(append.answer.as_ref()).map_err(AppendError::KeyTaken)?;
        let Append { session: id, expected_seq: _, mut facts, summary, definition, feed, answer } = append;
        let at = facts.last().map_or(summary.updated_at, |last| last.at);
        for kind in feed {
            self.last_position += 1;
            let entry = FeedEntry { position: self.last_position, session: id, seq: summary.seq, at, kind };
            self.feed.push((summary.tenant, entry));
        }
        match (self.sessions.get_mut(&id), definition) {
            (Some(session), definition) => {
                session.facts.append(&mut facts);
                session.row.summary = summary;
                if let Some(definition) = definition {
                    session.row.definition = definition;
                }
            }
            (None, Some(definition)) => {
                let row = SessionRow { summary, definition };
                self.sessions.insert(id, Session { row, facts, cache: None });
            }
            (None, None) => return Err(AppendError::Invalid("a new session needs a definition".to_owned())),
        }
        self.keep_answer(answer, Some(id));
        Ok(())
    }

    fn end(&self, session: SessionId) -> Option<LogEnd> {
        let last = self.sessions.get(&session)?.facts.last()?;
        Some(LogEnd { seq: last.seq, at: last.at })
    }

    /// `None` when there is no such session.
    fn facts_after(&self, session: SessionId, after: u64, limit: usize) -> Option<Vec<StoredFact>> {
        let facts = &self.sessions.get(&session)?.facts;
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(facts.len());
        Some(facts[from..].iter().take(limit).cloned().collect())
    }
}

/// Facts lie one after another, the first at place 1.
fn index_of(seq: u64) -> Option<usize> {
    usize::try_from(seq.checked_sub(1)?).ok()
}
