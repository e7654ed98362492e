//! Session rows in memory.

use futures_core::future::BoxFuture;
use std::ops::Bound;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::time::Timestamp;

use super::MemoryStore;
use super::state::{Session, State};
use crate::error::Error;
use crate::feed::FeedEntry;
use crate::page::{Page, page_of};
use crate::sessions::{SessionQuery, SessionRow, SessionRows, is_unsettled, position, prefix_range};

impl SessionRows for MemoryStore {
    fn session(&self, tenant: Option<TenantId>, id: SessionId) -> BoxFuture<'_, Result<Option<SessionRow>, Error>> {
        self.step(move |state| {
            let row = state.sessions.get(&id).map(|session| &session.row);
            Ok(row.filter(|row| tenant.is_none_or(|tenant| row.summary.tenant == tenant)).cloned())
        })
    }

    fn sessions(&self, query: SessionQuery) -> BoxFuture<'_, Result<Page<SessionRow>, Error>> {
        self.step(move |state| {
            let rows = state.sessions.values().map(|session| &session.row);
            let found = rows.filter(|row| query.matches(&row.summary));
            let list = found.map(|row| (position(&row.summary), row.clone())).collect();
            Ok(page_of(list, query.order, query.start, query.limit))
        })
    }

    fn sessions_by_prefix(
        &self,
        tenant: TenantId,
        prefix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        self.step(move |state| {
            let Some((least, greatest)) = prefix_range(&prefix) else { return Ok(Vec::new()) };
            let found = state.sessions.range(least..=greatest);
            let found = found.filter(|(_, session)| session.row.summary.tenant == tenant);
            Ok(found.map(|(id, _)| *id).take(limit).collect())
        })
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        self.step(move |state| {
            let mut due: Vec<_> = state.wakes().filter(|(at, _)| *at <= now).collect();
            due.sort_unstable();
            Ok(due.into_iter().map(|(_, id)| id).take(limit).collect())
        })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        self.step(|state| Ok(state.wakes().map(|(at, _)| at).min()))
    }

    fn unsettled(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        self.step(move |state| {
            Ok(state.ids_after(after, |session| is_unsettled(&session.row.summary)).take(limit).collect())
        })
    }

    fn session_ids(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        self.step(move |state| Ok(state.ids_after(after, |_| true).take(limit).collect()))
    }

    fn delete_session(&self, session: SessionId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let mut state = self.lock();
            let known = state.sessions.remove(&session).is_some();
            if known {
                state.purges.insert(session);
                state.feed.retain(|(_, entry)| entry.session != session);
                state.answers.retain(|_, kept| kept.session != Some(session));
                self.hub.publish_deletion(session);
            }
            Ok(known)
        })
    }

    fn purges(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        self.step(|state| Ok(state.purges.iter().copied().collect()))
    }

    fn purge_done(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>> {
        self.step(move |state| {
            state.purges.remove(&session);
            Ok(())
        })
    }

    fn feed(&self, tenant: TenantId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<FeedEntry>, Error>> {
        self.step(move |state| {
            let entries = state.feed.iter().filter(|(owner, entry)| *owner == tenant && entry.position > after);
            Ok(entries.map(|(_, entry)| entry.clone()).take(limit).collect())
        })
    }
}

impl State {
    fn wakes(&self) -> impl Iterator<Item = (Timestamp, SessionId)> {
        self.sessions.iter().filter_map(|(id, session)| Some((session.row.summary.wake_at?, *id)))
    }

    fn ids_after(
        &self,
        after: Option<SessionId>,
        wanted: impl Fn(&Session) -> bool,
    ) -> impl Iterator<Item = SessionId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).filter(move |(_, session)| wanted(session)).map(|(id, _)| *id)
    }
}
