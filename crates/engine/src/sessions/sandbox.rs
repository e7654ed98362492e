//! What people do with a session's sandbox beside its agent: they use it, limit it, and ask what it uses.

use tenure_core::agent::{Limits, LimitsChange};
use tenure_core::command::{NoteFiles, Update};
use tenure_core::decide::Refusal;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::session::Lifecycle;
use tenure_sandbox::Usage;
use tokio::sync::oneshot;

use super::Sessions;
use crate::error::Error;
use crate::limits;
use crate::sandboxes::{Job, VisitError};
use crate::view::{Keyed, SessionView};
use crate::visits::Visit;

/// What a visit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To look at files.
    Look,
    /// To change files, or to run a command.
    Change,
}

impl Sessions {
    /// Changes the limits of its sandbox: of the one that is alive at once, and of those to come.
    pub async fn change_limits(
        &self,
        tenant: TenantId,
        session: SessionId,
        change: LimitsChange,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let limits = change.apply(self.get(tenant, session).await?.definition.environment.limits);
        limits::check(&self.shared, change, "").await?;
        limits::check_disk(&self.shared, session, change).await?;
        // What the sandbox can't have isn't recorded either.
        self.apply_limits(session, limits).await?;
        let update = Update { limits: change, ..Update::default() };
        let view = self.execute(tenant, session, update, keyed).await?;
        // One that was being made meanwhile had the earlier ones.
        self.apply_limits(session, view.definition.environment.limits).await?;
        Ok(view)
    }

    async fn apply_limits(&self, session: SessionId, limits: Limits) -> Result<(), Error> {
        let (reply, applied) = oneshot::channel();
        self.shared.sandboxes.order(&self.shared.directory, session, Job::Limit { limits, reply });
        applied.await.map_err(|_| Error::busy())?.map_err(limits::refused)
    }

    /// What its sandbox uses now, and what it has on the disk, which is counted for it.
    pub async fn usage(&self, tenant: TenantId, session: SessionId) -> Result<Usage, Error> {
        self.get(tenant, session).await?;
        self.shared.sandboxes.backend().usage(session).await.map_err(|error| Error::Internal(Box::new(error)))
    }

    /// Lets somebody use its sandbox, which is opened for that if need be. To look at files it may be over; to change something
    /// or run a command it may not.
    pub async fn visit(&self, tenant: TenantId, session: SessionId, wanted: Wanted) -> Result<Visit, Error> {
        let view = self.get(tenant, session).await?;
        match (view.summary.lifecycle, wanted) {
            (Lifecycle::Open, Wanted::Look | Wanted::Change) => {}
            (Lifecycle::Closing { .. }, _) => return Err(Refusal::Stopping.into()),
            (Lifecycle::Ended { .. }, Wanted::Change) => {
                self.still_has_files(session).await?;
                return Err(Error::Conflict {
                    message: "the session has ended; its files can only be read".to_owned(),
                });
            }
            (Lifecycle::Ended { .. }, Wanted::Look) => self.still_has_files(session).await?,
        }
        let (reply, answer) = oneshot::channel();
        let environment = &view.definition.environment;
        let (limits, basis) = (environment.limits, environment.basis());
        self.shared.sandboxes.order(&self.shared.directory, session, Job::Visit { limits, basis, reply });
        let visit = match answer.await.map_err(|_| Error::busy())? {
            Ok(visit) => visit,
            Err(VisitError::NoRoom) => return Err(Error::NoRoom { most: self.shared.config.max_sandboxes }),
            Err(VisitError::Failed(error)) => return Err(error.into()),
        };
        match wanted {
            Wanted::Look => Ok(visit),
            Wanted::Change => {
                // Only now, since files that are put back count as unchanged: whoever is in the sandbox by then ends with it.
                self.note_files(tenant, session).await?;
                Ok(visit.noted(self.shared.directory.clone(), session))
            }
        }
    }

    pub(super) async fn still_has_files(&self, session: SessionId) -> Result<(), Error> {
        match self.shared.sandboxes.backend().sessions().await?.contains(&session) {
            true => Ok(()),
            false => Err(Error::Gone { message: "the session has ended, and its files are removed" }),
        }
    }

    /// Notes that somebody other than a call is about to write to the files, so that the next turn's end keeps them anew.
    async fn note_files(&self, tenant: TenantId, session: SessionId) -> Result<(), Error> {
        self.execute(tenant, session, NoteFiles { over: false }, None).await.map(drop)
    }
}
