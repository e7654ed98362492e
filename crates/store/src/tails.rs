//! Followers of sessions: what is committed reaches them in order, each fact once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::error::Error;
use crate::facts::Tail;

/// How many batches a follower may lag before it reads the log again.
const LAG: usize = 64;

/// How many facts are read from the log at once. A follower whose reader is slow holds on to as many, and each may have
/// 32 KiB.
pub(crate) const LOG_PAGE: usize = 64;

/// Reads up to [`LOG_PAGE`] facts after a place; `None` when there is no such session.
pub(crate) type ReadLog =
    Arc<dyn Fn(SessionId, u64) -> BoxFuture<'static, Result<Option<Vec<StoredFact>>, Error>> + Send + Sync>;

/// Where commits meet followers. Only sessions that are followed have an entry.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    followed: Mutex<HashMap<SessionId, broadcast::Sender<Tail>>>,
}

impl Hub {
    /// Tells a session's followers, if it has any, of committed facts. Whoever commits calls this in the order of the
    /// commits, and before it answers.
    pub(crate) fn publish(&self, session: SessionId, facts: impl FnOnce() -> Arc<[StoredFact]>) {
        if let Some(sender) = self.lock().get(&session) {
            // Fails without followers only, which is as good.
            let _ = sender.send(Tail::Facts(facts()));
        }
    }

    /// Tells a session's followers that it was deleted.
    pub(crate) fn publish_deletion(&self, session: SessionId) {
        if let Some(sender) = self.lock().get(&session) {
            let _ = sender.send(Tail::Deleted);
        }
    }

    /// Follows a session from a place on. The subscription stands before this returns, so that what is committed from
    /// now on is either told live or, if it was committed before, found in the log.
    pub(crate) fn follow(
        self: &Arc<Self>,
        session: SessionId,
        after: u64,
        read: ReadLog,
    ) -> BoxStream<'static, Result<Tail, Error>> {
        let receiver = self.lock().entry(session).or_insert_with(|| broadcast::Sender::new(LAG)).subscribe();
        let follower = Follower {
            place: Subscription { hub: Arc::clone(self), session, receiver: Some(receiver) },
            read,
            position: after,
            source: Source::Log,
        };
        Box::pin(futures_util::stream::unfold(follower, async |mut follower| {
            let told = follower.next().await?;
            Some((told, follower))
        }))
    }

    /// Ends all follows with an error: the store is closed.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, broadcast::Sender<Tail>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a follower's next facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Log,
    Live,
    Over,
}

struct Follower {
    place: Subscription,
    read: ReadLog,
    /// The last fact told.
    position: u64,
    source: Source,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Tail, Error>> {
        loop {
            let told = match self.source {
                Source::Over => return None,
                Source::Log => self.read_log().await,
                Source::Live => self.hear().await,
            };
            match &told {
                Some(Ok(Tail::Facts(_))) | None => {}
                Some(Ok(Tail::Deleted) | Err(_)) => self.source = Source::Over,
            }
            if told.is_some() {
                return told;
            }
        }
    }

    async fn read_log(&mut self) -> Option<Result<Tail, Error>> {
        let page = match (self.read)(self.place.session, self.position).await {
            Ok(Some(page)) => page,
            Ok(None) => return Some(Ok(Tail::Deleted)),
            Err(error) => return Some(Err(error)),
        };
        if page.len() < LOG_PAGE {
            self.source = Source::Live;
        }
        self.position = page.last()?.seq;
        Some(Ok(Tail::Facts(page.into())))
    }

    async fn hear(&mut self) -> Option<Result<Tail, Error>> {
        let received = match self.place.receiver.as_mut() {
            Some(receiver) => receiver.recv().await,
            None => Err(RecvError::Closed),
        };
        match received {
            Ok(Tail::Facts(facts)) => self.unseen(facts).map(|facts| Ok(Tail::Facts(facts))),
            Ok(Tail::Deleted) => Some(Ok(Tail::Deleted)),
            Err(RecvError::Lagged(_)) => {
                self.source = Source::Log;
                None
            }
            Err(RecvError::Closed) => Some(Err(Error::internal("following a session", "the store was closed"))),
        }
    }

    /// The part of a live batch that wasn't told yet. A batch that doesn't join on sends the follower to the log.
    fn unseen(&mut self, facts: Arc<[StoredFact]>) -> Option<Arc<[StoredFact]>> {
        let (first, last) = (facts.first()?.seq, facts.last()?.seq);
        if last <= self.position {
            return None;
        }
        if first > self.position + 1 {
            self.source = Source::Log;
            return None;
        }
        let told = self.position;
        self.position = last;
        if first > told {
            return Some(facts);
        }
        Some(facts.iter().filter(|stored| stored.seq > told).cloned().collect())
    }
}

/// A place among a session's followers, given up when dropped.
struct Subscription {
    hub: Arc<Hub>,
    session: SessionId,
    receiver: Option<broadcast::Receiver<Tail>>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut followed = self.hub.lock();
        self.receiver = None;
        if followed.get(&self.session).is_some_and(|sender| sender.receiver_count() == 0) {
            followed.remove(&self.session);
        }
    }
}
