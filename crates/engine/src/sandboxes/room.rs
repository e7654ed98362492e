//! Room for sandboxes: so many may be alive at once. Sessions wait in a line for it; visitors don't.

use std::time::Duration;

use tenure_core::command::SandboxReport;
use tenure_core::id::{SandboxId, SessionId, TenantId};
use tenure_core::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Job, Sandboxes, Slot};
use crate::directory::Directory;
use crate::engine::Room;

/// How long a visitor waits for room: of a sandbox that is just closed, or for the turn to look at files without.
const PATIENCE: Duration = Duration::from_secs(30);

impl Sandboxes {
    /// How it stands with room.
    pub(crate) fn room(&self, now: Timestamp) -> Room {
        let inner = self.lock();
        Room::new(inner.in_use(), self.most, &inner.waiting, now)
    }

    /// Tells those whose turn it is that there is room, as long as there is. Until they take it, nobody else gets it; one
    /// that doesn't want it any more has to [pass it on](Self::give_up).
    pub(super) fn offer_room(&self, directory: &Directory) {
        loop {
            let next = {
                let mut inner = self.lock();
                let next = if inner.in_use() < self.most { inner.waiting.next() } else { None };
                inner.promised.extend(next.map(|(session, _)| session));
                next
            };
            let Some((session, sandbox)) = next else { return };
            directory.report(session, sandbox, SandboxReport::Room);
        }
    }

    /// A session doesn't wait for room any more, and doesn't want what it was promised.
    pub(crate) fn give_up(&self, directory: &Directory, session: SessionId) {
        let promised = {
            let mut inner = self.lock();
            inner.waiting.leave(|(waiting, _)| *waiting == session);
            inner.promised.remove(&session)
        };
        if promised {
            self.offer_room(directory);
        }
    }

    /// Waits for the turn to look at files in sandboxes for which there is no room; nothing if that takes too long.
    pub(crate) async fn beyond_room(&self) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(PATIENCE, self.beyond.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Has one that was opened for visits closed if nobody is in it any more, though somebody may come back: who needs the room
    /// now comes first. Whether there is one; it is gone when what it gives is answered.
    pub(super) fn make_room(&self) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.lock();
        let deserted = |slot: &&mut Slot| slot.for_visits && !slot.to_close && !slot.visitors.any();
        let slot = inner.slots.values_mut().find(deserted)?;
        let (reply, gone) = oneshot::channel();
        slot.jobs.send(Job::Close { reply }).ok()?;
        slot.to_close = true;
        Some(gone)
    }

    /// Takes room as a visitor does, who isn't in the line: of a sandbox that is left open for visits, if there is none else.
    pub(super) async fn claim_room_to_visit(&self, session: SessionId, beyond: bool) -> bool {
        let claim = async {
            while !self.claim_room(session, false) {
                let Some(gone) = self.make_room() else { return false };
                let _ = gone.await;
            }
            true
        };
        tokio::time::timeout(PATIENCE, claim).await.unwrap_or(false) || self.claim_room(session, beyond)
    }

    /// Whether anybody waits for room.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().waiting.len() > 0
    }

    /// Takes room for a sandbox that is about to be made, if there is any, or if it is somebody's turn to have it without.
    pub(super) fn claim_room(&self, session: SessionId, beyond: bool) -> bool {
        let mut inner = self.lock();
        let free = inner.promised.remove(&session) || inner.in_use() < self.most || beyond;
        inner.opening += usize::from(free);
        free
    }

    /// The sandbox that room was claimed for is alive now, or won't be.
    pub(super) fn settle_claim(&self) {
        self.lock().opening -= 1;
    }

    pub(super) fn wait_for_room(&self, tenant: TenantId, session: SessionId, sandbox: SandboxId, now: Timestamp) {
        let mut inner = self.lock();
        // A session has one place in the line, at most.
        inner.waiting.leave(|(waiting, _)| *waiting == session);
        inner.waiting.join(tenant, (session, sandbox), now);
    }
}
