//! Sandboxes for others than their session, and such in which nothing is done but looking at files as they were.

use std::time::Duration;

use tenure_core::agent::Limits;
use tenure_core::id::{SessionId, SnapshotId};
use tenure_core::root::Basis;

use super::{Keeper, VISIT_GRACE, VisitError};
use crate::visits::Visit;

impl Keeper {
    /// Lets somebody in who isn't the session; `beyond`: also if there is no room.
    pub(super) async fn visit(&mut self, limits: Limits, basis: Basis, beyond: bool) -> Result<Visit, VisitError> {
        if let Some(current) = &self.current {
            return Ok(self.visitors.welcome(current.handle.clone()));
        }
        if !self.sandboxes.claim_room_to_visit(self.session, beyond).await {
            return Err(VisitError::NoRoom);
        }
        let opened = self.open(None, limits, basis).await;
        self.sandboxes.settle_claim();
        if opened.is_err() {
            self.sandboxes.offer_room(&self.directory);
        }
        Ok(self.visitors.welcome(opened.map_err(VisitError::Failed)?))
    }

    /// Makes one with the files of a snapshot, or with those that such a session begins with.
    pub(super) async fn view(
        &mut self,
        files: Option<(SessionId, SnapshotId)>,
        limits: Limits,
        basis: Basis,
        beyond: bool,
    ) -> Result<Visit, VisitError> {
        self.is_view = true;
        if let Some((from, snapshot)) = files {
            let forked = self.sandboxes.backend.fork(from, snapshot, &[], self.session).await;
            forked.map_err(VisitError::Failed)?;
        }
        let visit = self.visit(limits, basis, beyond).await;
        if visit.is_err() {
            self.end_view().await;
        }
        visit
    }

    /// How long one that was opened for visits is kept after the last. Whoever waits for room gets it at once.
    pub(super) fn linger(&self) -> Duration {
        if self.is_view || self.sandboxes.is_awaited() { Duration::ZERO } else { self.sandboxes.visit_linger }
    }

    /// Ends one that was opened for visits.
    pub(super) async fn close(&mut self) {
        if self.is_view { self.end_view().await } else { self.stop(VISIT_GRACE).await }
    }

    /// Removes it with its files. What stays after a crash is removed by the next server.
    pub(super) async fn end_view(&mut self) {
        if let Err(error) = self.remove().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(view = %self.session, error, "what was made to look at files not removed; the next start does");
        }
    }
}
