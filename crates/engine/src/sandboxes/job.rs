//! What is done with a session's sandbox, one thing after another.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::agent::Limits;
use tenure_core::id::{SandboxId, SessionId, SnapshotId, TenantId};
use tenure_core::root::Basis;
use tenure_sandbox::{Error, Sandbox};
use tokio::sync::oneshot;

use crate::visits::Visit;

/// One thing to do with a session's sandbox.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make it, or attach to it.
    Start { sandbox: SandboxId, limits: Limits, basis: Basis, tenant: TenantId },
    /// Attach to the one that is alive, or make it again after it died unnoticed.
    Attach { sandbox: SandboxId, limits: Limits, basis: Basis, reply: oneshot::Sender<Result<Arc<dyn Sandbox>, Error>> },
    /// Change the limits of the one that is alive, if one is.
    Limit { limits: Limits, reply: oneshot::Sender<Result<(), Error>> },
    /// Let somebody use it who isn't the session; if it isn't alive, it is opened without the session knowing.
    Visit { limits: Limits, basis: Basis, reply: oneshot::Sender<Result<Visit, VisitError>> },
    /// Let somebody look at these files, of a snapshot of another session or of none, in a sandbox of their own: nobody else is this
    /// session, and it goes with its visitor.
    View {
        files: Option<(SessionId, SnapshotId)>,
        limits: Limits,
        basis: Basis,
        /// Also if there is no room.
        beyond: bool,
        reply: oneshot::Sender<Result<Visit, VisitError>>,
    },
    /// Close it if it was opened for visits, and nobody is in it now.
    Close { reply: oneshot::Sender<()> },
    /// End its processes; if only because it was idle, then when those who visit it have left.
    Stop { sandbox: SandboxId, grace: Duration, idle: bool },
    /// Take a snapshot of its files. Of those without a name, so many are kept.
    Snapshot { snapshot: SnapshotId, most_copied: Option<u64>, keep: Option<usize> },
    /// Put its files back; the place of the log says which time it is.
    Rewind { place: u64, snapshot: Option<SnapshotId> },
    /// Forget all its snapshots but these.
    Keep { snapshots: Vec<SnapshotId> },
    /// Remove its files; whoever waits for it is told, or else the session is.
    Remove { reply: Option<oneshot::Sender<Result<(), Error>>> },
}

/// Why there is no visit.
#[derive(Debug)]
pub(crate) enum VisitError {
    /// As many sandboxes are alive as may be.
    NoRoom,
    /// It could not be opened.
    Failed(Error),
}
