//! Waking a session, and putting it to sleep.

use std::sync::Arc;

use tenure_core::effect::outstanding;
use tenure_core::fact::Fact;
use tenure_core::id::SessionId;
use tenure_core::past::{self, Replay, Rewind};
use tenure_core::state::State;
use tenure_store::{CachedState, Error as StoreError, FactQuery, Store};
use tokio::sync::mpsc;

use super::life::turn_away;
use super::{Origin, Owner};
use crate::directory::Mail;
use crate::engine::Shared;
use crate::error::Error;

/// The form of a kept state. It grows by one when the state's own form changes; older ones are then ignored.
pub(crate) const FORMAT: u32 = 5;

/// Facts read at once while waking.
const PAGE: usize = 1_000;

/// Facts after which the state of a session that doesn't sleep is kept.
const OFTEN: u64 = 1_000;

/// The part of the log, one in so many, that may grow before the state of a long session is kept again.
const SELDOM: u64 = 8;

/// A state is kept only when waking would otherwise read more than this many facts.
const WORTH_KEEPING: u64 = 64;

/// The session's state, and the place up to which it was kept; `None` if there is no such session.
pub(super) async fn load(store: &dyn Store, session: SessionId) -> Result<Option<(State, u64)>, StoreError> {
    read(store, session, u64::MAX).await
}

/// What the session was at a place of its log; `None` if there is no such session or place.
pub(crate) async fn as_of(store: &dyn Store, session: SessionId, place: u64) -> Result<Option<State>, StoreError> {
    let found = read(store, session, place).await?;
    Ok(found.map(|(state, _)| state).filter(|state| state.seq == place))
}

async fn read(store: &dyn Store, session: SessionId, until: u64) -> Result<Option<(State, u64)>, StoreError> {
    let kept = kept(store, session).await?.filter(|kept| kept.seq <= until);
    // Most logs never go back. Of one that does, it has to be known beforehand where to.
    let mut rewinds: Option<Vec<Rewind>> = None;
    'anew: loop {
        let known = rewinds.as_deref().unwrap_or_default();
        let from_kept = kept.clone().and_then(|state| Replay::from_state(state, known));
        let saved_seq = from_kept.as_ref().and_then(Replay::state).map_or(0, |state| state.seq);
        let mut replay = from_kept.unwrap_or_else(|| Replay::new(known));
        loop {
            let after = replay.state().map_or(0, |state| state.seq);
            let limit = usize::try_from(until - after).unwrap_or(PAGE).min(PAGE);
            let facts = store.read_facts(session, after, limit).await?;
            let complete = facts.len() < limit || limit < PAGE;
            for stored in &facts {
                let goes_back = matches!(*stored.fact, Fact::SessionRewound { .. });
                if goes_back && !known.iter().any(|rewind| rewind.place == stored.seq) {
                    rewinds = Some(all_rewinds(store, session).await?);
                    continue 'anew;
                }
                replay.take(stored);
            }
            if complete || replay.state().is_none() {
                return Ok(replay.into_state().map(|state| (state, saved_seq)));
            }
        }
    }
}

async fn all_rewinds(store: &dyn Store, session: SessionId) -> Result<Vec<Rewind>, StoreError> {
    let query = FactQuery { only: Some(vec!["session_rewound"]), ..FactQuery::all(session, usize::MAX) };
    Ok(past::rewinds(&store.query_facts(query).await?))
}

async fn kept(store: &dyn Store, session: SessionId) -> Result<Option<State>, StoreError> {
    let kept = store.load_state(session).await?.filter(|kept| kept.format == FORMAT);
    // What can't be read is as good as absent: the log has everything.
    Ok(kept.and_then(|kept| serde_json::from_slice(&kept.blob).ok()))
}

/// Answers all waiting mail with an error and lets go of the session.
pub(super) fn refuse(
    shared: &Arc<Shared>,
    session: SessionId,
    mailbox: &mut mpsc::Receiver<Box<Mail>>,
    error: impl Fn() -> Error,
) {
    loop {
        while let Ok(mail) = mailbox.try_recv() {
            turn_away(shared, session, *mail, error());
        }
        if shared.directory.leave(session, mailbox) {
            return;
        }
    }
}

impl Owner<'_> {
    /// Reads the state anew, after somebody else wrote to the log, and takes up what is outstanding in it: whoever wrote
    /// may be gone.
    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        match load(&*self.shared.store, self.state.session).await? {
            Some((state, saved_seq)) => {
                self.state = state;
                self.saved_seq = saved_seq;
                self.carry_out(outstanding(&self.state), Origin::Restart);
                Ok(())
            }
            None => Err(Error::not_found("session", self.state.session.prefixed())),
        }
    }

    /// Keeps the state of a session that goes on and on, so that waking it after a crash doesn't read all of that again:
    /// after a thousand facts, and later less often, since the state of a long session is large too.
    pub(super) fn keep_now_and_then(&mut self) {
        let since = self.state.seq.saturating_sub(self.saved_seq);
        if since < OFTEN.max(self.saved_seq / SELDOM) {
            return;
        }
        self.saved_seq = self.state.seq;
        let (store, state) = (self.shared.store.clone(), self.state.clone());
        tokio::spawn(async move {
            let session = state.session;
            let written =
                tokio::task::spawn_blocking(move || Some((state.seq, serde_json::to_vec(&state).ok()?))).await;
            let Ok(Some((seq, blob))) = written else { return };
            if let Err(error) = store.save_state(session, CachedState { seq, format: FORMAT, blob }).await {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "state not kept; waking would read the log");
            }
        });
    }

    /// The last thing an owner does: keeps the state if waking without it would be slow, and passes on late mail.
    pub(super) async fn sleep(&mut self) {
        let session = self.state.session;
        self.mailbox.close();
        for mail in std::mem::take(&mut self.aside) {
            let _ = self.shared.directory.post(session, *mail);
        }
        while let Ok(mail) = self.mailbox.try_recv() {
            let _ = self.shared.directory.post(session, *mail);
        }
        if self.state.seq - self.saved_seq.min(self.state.seq) < WORTH_KEEPING {
            return;
        }
        let Ok(blob) = serde_json::to_vec(&self.state) else { return };
        let kept = CachedState { seq: self.state.seq, format: FORMAT, blob };
        if let Err(error) = self.shared.store.save_state(session, kept).await {
            tracing::warn!(%session, error = &error as &dyn std::error::Error, "state not kept; waking will read the log");
        }
    }
}
