//! The sandboxes of awake sessions: each session's are started, stopped and removed one after another.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenure_core::agent::Limits;
use tenure_core::command::{FilesReport, ReportFiles, SandboxReport};
use tenure_core::files::SnapshotEnding;
use tenure_core::id::{SandboxId, SessionId, SnapshotId, TenantId};
use tenure_core::root::Basis;
use tenure_sandbox::{Backend, Error, LostReason, Progress, Sandbox, Spec, Taken};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::limits::for_sandbox;
use crate::line::Line;
use crate::visits::Visitors;

mod job;
mod room;
mod view;

pub(crate) use job::{Job, VisitError};

/// How many times it is tried to put files back.
const REWIND_TRIES: u32 = 5;

/// How long processes get to end when a sandbox is closed after the last visit.
const VISIT_GRACE: Duration = Duration::from_secs(2);

/// Every session's sandbox, by session.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    backend: Arc<dyn Backend>,
    most: usize,
    /// How long one that was opened for a visit is kept after the last one.
    visit_linger: Duration,
    clock: Clock,
    runtime: Handle,
    inner: Mutex<Inner>,
    /// Whose turn it is to look at files though there is no room.
    beyond: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<SessionId, Slot>,
    alive: usize,
    /// Being made: they have their room already.
    opening: usize,
    waiting: Line<(SessionId, SandboxId)>,
    /// Those that have been told that there is room, which is theirs until they take it or pass it on.
    promised: HashSet<SessionId>,
    /// The last time that the files of a session were put back. Doing so again would take what was written since.
    rewound: HashMap<SessionId, u64>,
}

impl Inner {
    fn in_use(&self) -> usize {
        self.alive + self.opening + self.promised.len()
    }
}

/// A session's jobs need no bound: a session orders the next start, stop or removal only when it has heard of the last one,
/// and attaches once for each call that runs.
#[derive(Debug)]
struct Slot {
    jobs: mpsc::UnboundedSender<Job>,
    handle: Option<Arc<dyn Sandbox>>,
    /// Whether it is there for visits alone.
    for_visits: bool,
    /// Whether it has been told to close if nobody visits it.
    to_close: bool,
    visitors: Arc<Visitors>,
    /// What is being done to get a sandbox ready.
    preparing: Option<Arc<str>>,
}

impl Sandboxes {
    /// At most `most` sandboxes at once; those who look after them run on `runtime`.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        most: usize,
        visit_linger: Duration,
        clock: Clock,
        runtime: Handle,
    ) -> Self {
        let beyond = Arc::new(Semaphore::new(1));
        Self { backend, most, visit_linger, clock, runtime, inner: Mutex::default(), beyond }
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// How many are alive.
    pub(crate) fn alive(&self) -> usize {
        self.lock().alive
    }

    /// The session's sandbox, if this process is attached to it.
    pub(crate) fn handle(&self, session: SessionId) -> Option<Arc<dyn Sandbox>> {
        self.lock().slots.get(&session)?.handle.clone()
    }

    /// Whether somebody other than the session runs something in its sandbox, or writes its files.
    pub(crate) fn in_use(&self, session: SessionId) -> bool {
        self.lock().slots.get(&session).is_some_and(|slot| slot.visitors.any_using())
    }

    /// What is being done to get the session's sandbox ready, if that takes its time.
    pub(crate) fn preparing(&self, session: SessionId) -> Option<Arc<str>> {
        self.lock().slots.get(&session)?.preparing.clone()
    }

    fn set_preparing(&self, session: SessionId, doing: Option<&str>) {
        if let Some(slot) = self.lock().slots.get_mut(&session) {
            slot.preparing = doing.map(Arc::from);
        }
    }

    /// Adds a job to the session's. Outcomes come back to the session as reports.
    pub(crate) fn order(self: &Arc<Self>, directory: &Directory, session: SessionId, job: Job) {
        let mut inner = self.lock();
        let slot = inner.slots.entry(session).or_insert_with(|| {
            let (jobs, queue) = mpsc::unbounded_channel();
            let visitors = Arc::<Visitors>::default();
            let keeper = Keeper::new(self.clone(), directory.clone(), session, visitors.clone());
            self.runtime.spawn(keeper.run(queue));
            Slot { jobs, handle: None, for_visits: false, to_close: false, visitors, preparing: None }
        });
        // The receiver is dropped only together with its slot, under the same lock.
        let _ = slot.jobs.send(job);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, session: SessionId, current: Option<&Current>) {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(&session) else { return };
        let (was, is) = (slot.handle.is_some(), current.is_some());
        slot.handle = current.map(|current| current.handle.clone());
        slot.for_visits = current.is_some_and(|current| current.sandbox.is_none());
        inner.alive = inner.alive + usize::from(is) - usize::from(was);
    }

    /// Gives the slot up if nothing is left to do in it.
    fn leave(&self, session: SessionId, queue: &mpsc::UnboundedReceiver<Job>) -> bool {
        let mut inner = self.lock();
        let done = queue.is_empty();
        if done {
            inner.slots.remove(&session);
        }
        done
    }
}

/// What looks after one session's sandbox while there is anything to look after.
struct Keeper {
    sandboxes: Arc<Sandboxes>,
    directory: Directory,
    session: SessionId,
    current: Option<Current>,
    visitors: Arc<Visitors>,
    /// Whether it is there to be looked at alone.
    is_view: bool,
}

/// The sandbox that a keeper has.
#[derive(Debug)]
struct Current {
    handle: Arc<dyn Sandbox>,
    /// What the session calls it; `None` while it is there for visits alone.
    sandbox: Option<SandboxId>,
}

/// What can wake a keeper.
#[expect(clippy::large_enum_variant, reason = "one at a time is handed from one function to the next")]
#[derive(Debug)]
enum Wake {
    Job(Job),
    Gone(LostReason),
    Deserted,
    Nothing,
}

impl Keeper {
    fn new(sandboxes: Arc<Sandboxes>, directory: Directory, session: SessionId, visitors: Arc<Visitors>) -> Self {
        Self { sandboxes, directory, session, current: None, visitors, is_view: false }
    }

    /// From now on the sandbox is the session's, by this name, or there for visits alone.
    fn belongs_to(&mut self, sandbox: Option<SandboxId>) {
        if let Some(current) = &mut self.current {
            current.sandbox = sandbox;
            self.sandboxes.set(self.session, Some(current));
        }
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        loop {
            match self.wake(&mut queue).await {
                Wake::Job(job) => self.perform(job).await,
                Wake::Gone(_) if self.is_view => self.end_view().await,
                Wake::Gone(reason) => self.gone(reason),
                Wake::Deserted => self.close().await,
                Wake::Nothing => return,
            }
        }
    }

    async fn wake(&self, queue: &mut mpsc::UnboundedReceiver<Job>) -> Wake {
        match &self.current {
            Some(Current { handle, sandbox }) => tokio::select! {
                biased;
                job = queue.recv() => job.map_or(Wake::Nothing, Wake::Job),
                reason = handle.lost() => Wake::Gone(reason),
                () = self.visitors.all_gone(|| self.linger()), if sandbox.is_none() => Wake::Deserted,
            },
            None => match queue.try_recv() {
                Ok(job) => Wake::Job(job),
                Err(_) if self.sandboxes.leave(self.session, queue) => Wake::Nothing,
                Err(_) => queue.recv().await.map_or(Wake::Nothing, Wake::Job),
            },
        }
    }

    async fn perform(&mut self, job: Job) {
        match job {
            Job::Start { sandbox, limits, basis, tenant } => self.start(sandbox, limits, basis, tenant).await,
            Job::Attach { sandbox, limits, basis, reply } => {
                let opened = self.open(Some(sandbox), limits, basis).await;
                let _ = reply.send(opened);
            }
            Job::Limit { limits, reply } => {
                let changed = self.sandboxes.backend.change_limits(self.session, for_sandbox(limits)).await;
                let _ = reply.send(changed.map(drop));
            }
            Job::Visit { limits, basis, reply } => {
                let visit = self.visit(limits, basis, false).await;
                let _ = reply.send(visit);
            }
            Job::View { files, limits, basis, beyond, reply } => {
                let visit = self.view(files, limits, basis, beyond).await;
                let _ = reply.send(visit);
            }
            Job::Stop { sandbox, grace, idle } => {
                match &self.current {
                    Some(_) if idle && self.visitors.any() => self.belongs_to(None),
                    Some(_) | None => self.stop(grace).await,
                }
                self.report(sandbox, SandboxReport::Stopped);
            }
            Job::Close { reply } => {
                if self.current.as_ref().is_some_and(|current| current.sandbox.is_none()) && !self.visitors.any() {
                    self.close().await;
                }
                if let Some(slot) = self.sandboxes.lock().slots.get_mut(&self.session) {
                    slot.to_close = false;
                }
                let _ = reply.send(());
            }
            Job::Snapshot { snapshot, most_copied, keep } => self.snapshot(snapshot, most_copied, keep).await,
            Job::Rewind { place, snapshot } => self.rewind(place, snapshot).await,
            Job::Keep { snapshots } => {
                if let Err(error) = self.sandboxes.backend.keep_snapshots(self.session, &snapshots).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(session = %self.session, error, "snapshots not removed; the next removal takes them along");
                }
            }
            Job::Remove { reply } => {
                let removed = self.remove().await;
                if let Err(error) = &removed {
                    let error = error as &dyn std::error::Error;
                    tracing::error!(session = %self.session, error, "files not removed; tried again at the next start");
                }
                match reply {
                    Some(reply) => drop(reply.send(removed)),
                    None if removed.is_ok() => self.report(SandboxId::from_bits(0), SandboxReport::FilesRemoved),
                    None => {}
                }
            }
        }
    }

    async fn start(&mut self, sandbox: SandboxId, limits: Limits, basis: Basis, tenant: TenantId) {
        if self.current.is_some() {
            self.belongs_to(Some(sandbox));
            self.sandboxes.give_up(&self.directory, self.session);
            return self.report(sandbox, SandboxReport::Started);
        }
        if !self.sandboxes.claim_room(self.session, false) {
            // Before it is in the line, so that it hears of room only when it knows that it waits.
            self.report(sandbox, SandboxReport::Queued);
            self.sandboxes.wait_for_room(tenant, self.session, sandbox, self.sandboxes.clock.now());
            // Whoever closes offers the room to those who wait.
            drop(self.sandboxes.make_room());
            // There may have become some just before.
            return self.sandboxes.offer_room(&self.directory);
        }
        let opened = self.open(Some(sandbox), limits, basis).await;
        self.sandboxes.settle_claim();
        match opened {
            Ok(_) => self.report(sandbox, SandboxReport::Started),
            Err(error) => {
                tracing::warn!(session = %self.session, error = &error as &dyn std::error::Error, "sandbox not started");
                self.report(sandbox, SandboxReport::Failed { reason: cause(&error) });
                self.sandboxes.offer_room(&self.directory);
            }
        }
    }

    /// Attaches to the sandbox, or makes it; without a name of the session's it is for visits.
    async fn open(
        &mut self,
        sandbox: Option<SandboxId>,
        limits: Limits,
        basis: Basis,
    ) -> Result<Arc<dyn Sandbox>, Error> {
        if let Some(Current { handle, sandbox: known }) = &self.current {
            let (handle, sandbox) = (handle.clone(), sandbox.or(*known));
            self.belongs_to(sandbox);
            return Ok(handle);
        }
        let mut spec = Spec::new(self.session);
        spec.limits = for_sandbox(limits);
        (spec.root, spec.packages) = (basis.root, basis.packages);
        let (sandboxes, session) = (Arc::downgrade(&self.sandboxes), self.session);
        spec.progress = Progress::to(move |doing| {
            if let Some(sandboxes) = sandboxes.upgrade() {
                sandboxes.set_preparing(session, Some(doing));
            }
        });
        let opened = self.sandboxes.backend.open(spec).await;
        self.sandboxes.set_preparing(session, None);
        let opened = opened?;
        let current = self.current.insert(Current { handle: opened.sandbox.clone(), sandbox });
        self.sandboxes.set(self.session, Some(current));
        Ok(opened.sandbox)
    }

    async fn stop(&mut self, grace: Duration) {
        if self.current.is_none() && self.is_alive().await {
            let _ = self.open(None, Limits::default(), Basis::default()).await;
        }
        if let Some(Current { handle, .. }) = self.current.take() {
            self.sandboxes.set(self.session, None);
            if let Err(error) = handle.stop(grace).await {
                tracing::warn!(session = %self.session, error = &error as &dyn std::error::Error, "sandbox ended while it was being stopped");
            }
            self.sandboxes.offer_room(&self.directory);
        }
    }

    async fn snapshot(&self, snapshot: SnapshotId, most_copied: Option<u64>, keep: Option<usize>) {
        let ending = match self.sandboxes.backend.snapshot(self.session, snapshot, most_copied).await {
            Ok(Taken::Sealed) => SnapshotEnding::Sealed,
            Ok(Taken::Copied { bytes }) => SnapshotEnding::Copied { bytes },
            Ok(Taken::Reused) => SnapshotEnding::Reused,
            Ok(Taken::Skipped { bytes }) => SnapshotEnding::Skipped { bytes },
            Err(error) => {
                tracing::warn!(session = %self.session, error = &error as &dyn std::error::Error, "snapshot not taken");
                SnapshotEnding::Failed { reason: cause(&error) }
            }
        };
        self.report_files(FilesReport::Snapshot { snapshot, ending, keep });
    }

    /// Tries a few times: a session whose files aren't what its conversation takes them for is worse than one that waits.
    async fn rewind(&mut self, place: u64, snapshot: Option<SnapshotId>) {
        if self.sandboxes.lock().rewound.get(&self.session) == Some(&place) {
            return self.report_files(FilesReport::Rewound { place, failed: None });
        }
        let had_one = self.current.take().is_some();
        self.sandboxes.set(self.session, None);
        let mut backoff = Backoff::default();
        let mut failed = None;
        for _ in 0..REWIND_TRIES {
            match self.sandboxes.backend.rewind(self.session, snapshot).await {
                Ok(()) => {
                    failed = None;
                    break;
                }
                Err(error) => {
                    tracing::error!(session = %self.session, error = &error as &dyn std::error::Error, "files not put back");
                    failed = Some(cause(&error));
                    if matches!(error, Error::Invalid(_)) {
                        break;
                    }
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
        if failed.is_none() {
            self.sandboxes.lock().rewound.insert(self.session, place);
        }
        self.report_files(FilesReport::Rewound { place, failed });
        if had_one {
            self.sandboxes.offer_room(&self.directory);
        }
    }

    fn report_files(&self, report: FilesReport) {
        self.directory.bring(self.session, ReportFiles { report });
    }

    /// Ends the sandbox without grace and removes its files.
    async fn remove(&mut self) -> Result<(), Error> {
        self.sandboxes.give_up(&self.directory, self.session);
        let had_one = self.current.take().is_some();
        self.sandboxes.set(self.session, None);
        let removed = self.sandboxes.backend.destroy(self.session).await;
        self.sandboxes.lock().rewound.remove(&self.session);
        if had_one {
            self.sandboxes.offer_room(&self.directory);
        }
        removed
    }

    async fn is_alive(&self) -> bool {
        let alive = self.sandboxes.backend.alive().await.unwrap_or_default();
        alive.contains(&self.session)
    }

    fn gone(&mut self, reason: LostReason) {
        let Some(Current { sandbox, .. }) = self.current.take() else { return };
        self.sandboxes.set(self.session, None);
        match (reason, sandbox) {
            (LostReason::Stopped, _) | (LostReason::Died, None) => {}
            (LostReason::Died, Some(sandbox)) => {
                let reason = "its processes ended without being asked to".to_owned();
                self.report(sandbox, SandboxReport::Lost { reason });
            }
        }
        self.sandboxes.offer_room(&self.directory);
    }

    fn report(&self, sandbox: SandboxId, report: SandboxReport) {
        self.directory.report(self.session, sandbox, report);
    }
}

/// An error and its causes as one line for a person.
fn cause(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
