//! Sessions that are being made from others: they have files before they have a row, and nobody must take those for left
//! over.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure_core::id::SessionId;

/// The sessions that this server is making from others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forking {
    sessions: Arc<Mutex<HashSet<SessionId>>>,
}

/// Keeps a session among them until it is dropped.
#[derive(Debug)]
pub(crate) struct Begun {
    forking: Forking,
    session: SessionId,
}

impl Forking {
    pub(crate) fn begin(&self, session: SessionId) -> Begun {
        self.lock().insert(session);
        Begun { forking: self.clone(), session }
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.lock().contains(&session)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.forking.lock().remove(&self.session);
    }
}
