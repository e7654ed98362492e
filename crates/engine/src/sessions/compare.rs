//! What differs between a session's files and what they were.

use tenure_core::decide::Refusal;
use tenure_core::files::{FilesWork, Snapshot};
use tenure_core::fork::ForkKind;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::past::skipped;
use tenure_core::session::Lifecycle;
use tenure_core::state::State;
use tenure_tools::files::{Comparing, Differences, Error as FilesError, FilesClient};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::copies::of_sandbox;
use super::{Point, Sessions, Wanted};
use crate::error::Error;
use crate::forking::Begun;
use crate::sandboxes::{Job, VisitError};
use crate::view::SessionView;
use crate::visits::Visit;

/// A session's files at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// What it began with.
    Start,
    /// As a snapshot has them.
    Snapshot(Snapshot),
    /// As they are.
    Now,
}

/// The name by which the beginning is asked for, unless a snapshot has it.
const START: &str = "start";

/// A session's files at two times, to be compared for as long as this is kept.
#[derive(Debug)]
pub struct Comparison {
    /// The earlier one, or the one that is taken for it.
    pub from: Stage,
    /// The other.
    pub to: Stage,
    before: View,
    after: View,
    /// If there was no room for them.
    _beyond: Option<OwnedSemaphorePermit>,
}

/// Somewhere files can be looked at.
#[derive(Debug)]
struct View {
    visit: Visit,
    /// Of one that was made for it.
    _begun: Option<Begun>,
}

impl Comparison {
    /// A page of what differs.
    pub async fn differences(&self, comparing: Comparing) -> Result<Differences, FilesError> {
        let files = |view: &View| FilesClient::new(view.visit.sandbox().clone());
        files(&self.after).compare(&files(&self.before), comparing).await
    }
}

impl Sessions {
    /// Prepares to compare a session's files: those of a place in its log that has a snapshot, or of the beginning, with those of
    /// another or with those that it has now. If the first isn't named it is the snapshot before the other; where nothing was
    /// written since the newest one, that is the one before it.
    pub async fn compare(
        &self,
        tenant: TenantId,
        session: SessionId,
        from: Option<Point>,
        to: Option<Point>,
    ) -> Result<Comparison, Error> {
        let view = self.get(tenant, session).await?;
        match view.summary.lifecycle {
            Lifecycle::Open => {}
            Lifecycle::Closing { .. } => return Err(Refusal::Stopping.into()),
            Lifecycle::Ended { .. } => self.still_has_files(session).await?,
        }
        let to = match to {
            None => Stage::Now,
            Some(point) => self.stage(tenant, session, point, "to").await?,
        };
        let from = match from {
            None => since(&*self.shared.directory.look(tenant, session).await?, &to)?,
            Some(point) => self.stage(tenant, session, point, "from").await?,
        };
        // The session's own sandbox, which is there to be compared with, may be all that there is room for.
        let (both, beyond) = match self.look_at_both(tenant, &view, [&from, &to], false).await {
            Err(full @ Error::NoRoom { .. }) => {
                let Some(beyond) = self.shared.sandboxes.beyond_room().await else { return Err(full) };
                (self.look_at_both(tenant, &view, [&from, &to], true).await?, Some(beyond))
            }
            both => (both?, None),
        };
        let [before, after] = both;
        Ok(Comparison { from, to, before, after, _beyond: beyond })
    }

    async fn look_at_both(
        &self,
        tenant: TenantId,
        view: &SessionView,
        [from, to]: [&Stage; 2],
        beyond: bool,
    ) -> Result<[View; 2], Error> {
        let after = self.look_at(tenant, view, to, beyond).await?;
        Ok([self.look_at(tenant, view, from, beyond).await?, after])
    }

    async fn stage(
        &self,
        tenant: TenantId,
        session: SessionId,
        point: Point,
        field: &'static str,
    ) -> Result<Stage, Error> {
        let now = self.shared.directory.look(tenant, session).await?;
        if point == Point::Name(START.to_owned()) && now.files.named(START).is_none() {
            return start(&now, field);
        }
        let (now, found) = self.point(tenant, session, &point, true, field).await?;
        found.snapshot.map_or_else(|| start(&now, field), |snapshot| Ok(Stage::Snapshot(snapshot)))
    }

    async fn look_at(&self, tenant: TenantId, view: &SessionView, stage: &Stage, beyond: bool) -> Result<View, Error> {
        let session = view.summary.session;
        let files = match stage {
            Stage::Now => {
                let visit = self.visit(tenant, session, Wanted::Look).await?;
                return Ok(View { visit, _begun: None });
            }
            Stage::Start => None,
            Stage::Snapshot(snapshot) => Some((session, snapshot.id)),
        };
        let environment = &view.definition.environment;
        let (limits, basis) = (environment.limits, environment.basis());
        let looker = SessionId::from_bits(self.shared.clock.ids().bits());
        let begun = Some(self.shared.forking.begin(looker));
        let (reply, answer) = oneshot::channel();
        let job = Job::View { files, limits, basis, beyond, reply };
        self.shared.sandboxes.order(&self.shared.directory, looker, job);
        match answer.await.map_err(|_| Error::busy())? {
            Ok(visit) => Ok(View { visit, _begun: begun }),
            Err(VisitError::NoRoom) => Err(Error::NoRoom { most: self.shared.config.max_sandboxes }),
            Err(VisitError::Failed(error)) => Err(of_sandbox(error, "the files can't be looked at")),
        }
    }
}

/// What a session began with. A clone began with what another had.
fn start(now: &State, field: &'static str) -> Result<Stage, Error> {
    match now.forked_from.filter(|from| from.what == ForkKind::Clone).and_then(|from| from.snapshot) {
        None => Ok(Stage::Start),
        Some(began) => match now.files.snapshot(began) {
            Some(snapshot) => Ok(Stage::Snapshot(snapshot.clone())),
            None => Err(Error::invalid(field, "the snapshot that the session began with isn't kept any longer")),
        },
    }
}

/// What files at this time are compared with unless somebody says otherwise.
fn since(now: &State, to: &Stage) -> Result<Stage, Error> {
    let files = &now.files;
    let current = files.current.and_then(|id| files.snapshot(id));
    // What a snapshot that is being taken will have, the one before it doesn't.
    let is_ahead = files.changed || matches!(files.work, Some(FilesWork::Snapshot { .. }));
    let before = match (to, current) {
        (Stage::Now, Some(current)) if is_ahead => return Ok(Stage::Snapshot(current.clone())),
        (Stage::Now, Some(current)) => current.point,
        // It isn't kept any longer.
        (Stage::Now, None) if is_ahead || files.current.is_some() => u64::MAX,
        (Stage::Now, None) | (Stage::Start, _) => 0,
        (Stage::Snapshot(snapshot), _) => snapshot.point,
    };
    let passed_over = skipped(&now.rewinds, now.seq);
    let counts = |kept: &&Snapshot| !passed_over.iter().any(|skipped| skipped.contains(kept.point));
    let earlier = files.snapshots.iter().rev().filter(|kept| kept.point < before).find(counts);
    earlier.map_or_else(|| start(now, "from"), |snapshot| Ok(Stage::Snapshot(snapshot.clone())))
}
