use std::sync::Arc;
use std::time::Duration;

use tenure_core::id::{ItemId, SessionId};
use tokio::sync::mpsc;

use crate::{Applied, CallEnd, Error, Leftover, Order, Report, Spec};

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

    /// The sessions whose sandbox is alive now. Starts nothing.
    fn alive(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// Ends the sandbox, if it is alive, and removes all its files and journals. Doing so twice is no error.
    fn destroy(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>>;

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

/// Why a sandbox is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// It was stopped or destroyed through this handle.
    Stopped,
    /// Its processes ended without being asked: the supervisor or the keeper was killed, or the machine is short of
    /// memory.
    Died,
}
