use std::sync::Arc;
use std::time::Duration;

use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_core::packages::Packages;
use tenure_core::root::Root;
use tokio::sync::mpsc;

use crate::{Applied, CallEnd, Error, Launch, Leftover, Limits, Order, Process, Report, Spec, Usage};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = futures_core::future::BoxFuture<'a, T>;

/// A way of making sandboxes. All of it may be called again after a restart of the server: the backend finds what is
/// still alive.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// The name in settings and reports.
    fn name(&self) -> &'static str;

    /// Makes the sandbox of a session, or attaches to it if it is alive. Its files are those it had when it was last
    /// alive. The limits of a sandbox that is alive stay what they are.
    fn open(&self, spec: Spec) -> BoxFuture<'_, Result<Opened, Error>>;

    /// Changes the limits of a session's sandbox while it works; one that isn't set gets its default. Gives those that are in
    /// force then; `None` if it isn't alive. [`Error::Invalid`] if it uses more than it may have then.
    fn change_limits(&self, session: SessionId, limits: Limits) -> BoxFuture<'_, Result<Option<Applied>, Error>>;

    /// The most that limits may be on this machine, for what is unknown nothing. Sandboxes with limits beyond it can't be opened.
    fn most(&self) -> BoxFuture<'_, Limits>;

    /// What a session uses. What it has on the disk is counted for it, so this isn't for every request. Starts nothing.
    fn usage(&self, session: SessionId) -> BoxFuture<'_, Result<Usage, Error>>;

    /// Whether sandboxes may have this root, as far as can be told before one is made. An error says why not, for whoever asked
    /// for it.
    fn check_root<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<(), Error>>;

    /// Whether these packages can be installed, as far as can be told before it is done: whether there are archives of them.
    fn check_packages<'a>(&'a self, packages: &'a Packages) -> BoxFuture<'a, Result<(), Error>>;

    /// The sessions whose sandbox is alive now. Starts nothing.
    fn alive(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// Ends the sandbox, if it is alive, and removes all its files and journals. Doing so twice is no error.
    fn destroy(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>>;

    /// Keeps the session's files as they are now under this id, whether its sandbox is alive or not. No call may be under way.
    /// Repeating it with the same id changes nothing, and says what the first one came to.
    ///
    /// In constant time, unless processes go on living between calls. Then files have to be copied; if those would be more
    /// than `most_copied` bytes (`None`: any number), nothing is kept and [`Taken::Skipped`] says so.
    fn snapshot(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    ) -> BoxFuture<'_, Result<Taken, Error>>;

    /// Gives a session that has no files yet those of a snapshot of another. Nothing is copied, and neither sees what the
    /// other does from then on. The new one has that snapshot too, and those of `earlier`, under the same ids. Doing so twice is
    /// no error.
    fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: &[SnapshotId],
        to: SessionId,
    ) -> BoxFuture<'_, Result<(), Error>>;

    /// Puts the files of a session back to what one of its snapshots holds; `None`: to what a session starts with. Its sandbox is
    /// ended first. All snapshots stay, later ones too. Doing so twice is no error.
    fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> BoxFuture<'_, Result<(), Error>>;

    /// Forgets all snapshots of a session but these. What no other session or snapshot needs is removed in time.
    fn keep_snapshots(&self, session: SessionId, keep: &[SnapshotId]) -> BoxFuture<'_, Result<(), Error>>;

    /// The sessions that have files here, alive or not.
    fn sessions(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// What is on the host and belongs to no session of `known`: processes, mounts, cgroups, directories.
    fn leftovers(&self, known: &[SessionId]) -> BoxFuture<'_, Result<Vec<Leftover>, Error>>;

    /// Tests isolation by trying to break it from within a sandbox made for the purpose.
    fn probe(&self) -> BoxFuture<'_, Report>;

    /// Ends every sandbox and whatever keeps them; files stay. Starts nothing.
    fn shutdown(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// A live sandbox. Dropping it lets go of the connection; the sandbox lives on.
pub trait Sandbox: Send + Sync + std::fmt::Debug {
    /// Whose it is.
    fn session(&self) -> SessionId;

    /// Runs the call, or attaches to it if it is running, or gives the result it had: judged by the call journal, so an
    /// order may be repeated after any crash. The call runs on if the future is dropped.
    ///
    /// `progress` gets output as it comes; chunks are dropped rather than waited for when the receiver is slow.
    fn run(&self, order: Order, progress: Option<mpsc::Sender<Vec<u8>>>) -> BoxFuture<'_, Result<CallEnd, Error>>;

    /// Starts a process with which somebody talks while it runs. It isn't repeated after a crash: it ends with this process, and
    /// with the sandbox. It is no call, and disturbs none.
    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Process, Error>>;

    /// Kills everything the call started, escaped daemons included. A cancel that arrives before its call is
    /// remembered: the call then ends, cancelled, without having started.
    fn cancel(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>>;

    /// Says that the call's end is stored elsewhere and its journal may go.
    fn acknowledge(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>>;

    /// Says which calls are open, as the log has it, after a server took the sandbox up from another. Every other call that
    /// had left something when this handle was made is over for good: its end is stored, or nobody waits for it any more
    /// because its cancel was stored and never told. Those that still run are killed; the journals of all go.
    fn settle(&self, open: &[ItemId]) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends every process; files stay. Processes get SIGTERM, then up to `grace`, then SIGKILL.
    fn stop(&self, grace: Duration) -> BoxFuture<'_, Result<(), Error>>;

    /// Resolves when the sandbox has ended, with the reason.
    fn lost(&self) -> BoxFuture<'_, LostReason>;
}

/// An opened sandbox.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The handle.
    pub sandbox: Arc<dyn Sandbox>,
    /// Whether it was started just now; otherwise it was alive already.
    pub fresh: bool,
    /// The limits in force, and those that this host can't enforce.
    pub limits: Applied,
}

/// What keeping a session's files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Taken {
    /// The session's writable layer became a read-only one under a new writable layer.
    Sealed,
    /// Processes were alive, so the writable layer was copied while they stood still.
    Copied {
        /// Bytes of files in it.
        bytes: u64,
    },
    /// Nothing had changed since the last snapshot, whose layers it shares.
    Reused,
    /// Nothing was kept: processes were alive, and more would have had to be copied than was allowed.
    Skipped {
        /// Bytes of files that would have had to be copied, as far as they were counted.
        bytes: u64,
    },
}

/// Why a sandbox is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// It was stopped or destroyed through this handle.
    Stopped,
    /// Its processes ended without being asked: the supervisor or the keeper was killed, or the machine is short of
    /// memory.
    Died,
}
