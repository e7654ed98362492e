use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_core::packages::{Manager, Packages};
use tenure_core::root::Root;
use tenure_sandbox::{
    Applied, Backend, BoxFuture, CallEnd, Error, Leftover, Limits, Opened, Report, Spec, Taken, Usage,
};
use tokio::sync::watch;

use process::copied;
use sandbox::FakeSandbox;

mod process;
mod sandbox;

/// A backend whose sandboxes run nothing: a shell call prints `ran: <command>`, any other says `ok`. A call whose command
/// or input holds the word `wait` ends only when it is [released](FakeBackend::release), cancelled, or its sandbox dies. It keeps
/// count of everything, so that a test can say what must have happened, and how often.
#[derive(Debug, Clone, Default)]
pub struct FakeBackend {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Inner {
    alive: HashMap<SessionId, watch::Sender<bool>>,
    files: HashSet<SessionId>,
    refuse: Option<String>,
    started: Vec<ItemId>,
    ended: HashMap<ItemId, CallEnd>,
    released: HashSet<ItemId>,
    cancelled: HashSet<ItemId>,
    acknowledged: Vec<ItemId>,
    opened: usize,
    workspaces: HashMap<SessionId, Arc<tempfile::TempDir>>,
    snapshots: HashMap<SessionId, Vec<SnapshotId>>,
    /// What workspaces were when a snapshot was taken.
    kept: HashMap<SnapshotId, Arc<tempfile::TempDir>>,
    /// From which snapshot a session's files came last.
    origins: HashMap<SessionId, SnapshotId>,
    /// Whether what is done to files waits.
    held: bool,
    /// Whether sandboxes are being made ready and not yet there.
    held_opening: bool,
    /// How many times something was to be done to files.
    asked: usize,
    /// What the next snapshot comes to.
    next: Option<Taken>,
    /// The bytes and the files that every session has on the disk.
    on_disk: Option<(u64, u64)>,
}

impl FakeBackend {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            let _ = changes.changed().await;
        }
    }

    /// From now on no sandbox can be made, for this reason; `None` lets them be made again.
    pub fn refuse(&self, reason: Option<&str>) {
        self.change(|inner| inner.refuse = reason.map(str::to_owned));
    }

    /// From now on every session has so many bytes and files on the disk.
    pub fn fill_disk(&self, bytes: u64, inodes: u64) {
        self.change(|inner| inner.on_disk = Some((bytes, inodes)));
    }

    /// Every call that was started, in order; a call that was run twice is there twice.
    pub fn started(&self) -> Vec<ItemId> {
        self.lock().started.clone()
    }

    /// Waits until so many calls were started.
    pub async fn wait_started(&self, count: usize) -> Vec<ItemId> {
        self.until(|inner| (inner.started.len() >= count).then(|| inner.started.clone())).await
    }

    /// Waits until this call was cancelled.
    pub async fn wait_cancelled(&self, call: ItemId) {
        self.until(|inner| inner.cancelled.contains(&call).then_some(())).await;
    }

    /// Waits until this call's end was acknowledged.
    pub async fn wait_acknowledged(&self, call: ItemId) {
        self.until(|inner| inner.acknowledged.contains(&call).then_some(())).await;
    }

    /// Lets a waiting call end.
    pub fn release(&self, call: ItemId) {
        self.change(|inner| inner.released.insert(call));
    }

    /// The sandbox dies; calls in it that hadn't ended are interrupted.
    pub fn kill(&self, session: SessionId) {
        let gone = self.change(|inner| inner.alive.remove(&session));
        if let Some(gone) = gone {
            gone.send_replace(true);
        }
    }

    /// Waits until a session's sandbox isn't alive.
    pub async fn wait_ended(&self, session: SessionId) {
        self.until(|inner| (!inner.alive.contains_key(&session)).then_some(())).await;
    }

    /// How many sandboxes are alive.
    pub fn alive_count(&self) -> usize {
        self.lock().alive.len()
    }

    /// Whether the session has files.
    pub fn has_files(&self, session: SessionId) -> bool {
        self.lock().files.contains(&session)
    }

    /// The snapshots of a session that are kept, in the order in which they were taken.
    pub fn snapshots(&self, session: SessionId) -> Vec<SnapshotId> {
        self.lock().snapshots.get(&session).cloned().unwrap_or_default()
    }

    /// The snapshot that the session was forked from or rewound to last.
    pub fn origin(&self, session: SessionId) -> Option<SnapshotId> {
        self.lock().origins.get(&session).copied()
    }

    /// From now on snapshots aren't taken and files aren't put back, until this is taken back.
    pub fn hold_snapshots(&self, held: bool) {
        self.change(|inner| inner.held = held);
    }

    /// From now on sandboxes are being made ready, and say so, until this is taken back.
    pub fn hold_opening(&self, held: bool) {
        self.change(|inner| inner.held_opening = held);
    }

    /// Waits until so many snapshots or rewinds were asked for.
    pub async fn wait_snapshot_asked(&self, count: usize) {
        self.until(|inner| (inner.asked >= count).then_some(())).await;
    }

    /// What the next snapshot that is asked for comes to.
    pub fn next_snapshot(&self, taken: Taken) {
        self.change(|inner| inner.next = Some(taken));
    }

    /// Waits until so many snapshots of a session are kept.
    pub async fn wait_snapshots(&self, session: SessionId, count: usize) {
        self.until(|inner| (inner.snapshots.get(&session).map_or(0, Vec::len) == count).then_some(())).await;
    }

    /// Waits until a session has no files.
    pub async fn wait_gone(&self, session: SessionId) {
        self.until(|inner| (!inner.files.contains(&session)).then_some(())).await;
    }

    /// Waits until no other session has files.
    pub async fn wait_only(&self, session: SessionId) {
        self.until(|inner| inner.files.iter().all(|other| *other == session).then_some(())).await;
    }

    async fn until_let_go(&self) {
        self.change(|inner| inner.asked += 1);
        self.until(|inner| (!inner.held).then_some(())).await;
    }

    /// The directory that stands for a session's workspace.
    pub fn workspace(&self, session: SessionId) -> PathBuf {
        let mut inner = self.lock();
        let made = || Arc::new(tempfile::tempdir().expect("a directory can be made"));
        inner.workspaces.entry(session).or_insert_with(made).path().to_owned()
    }

    /// How many sandboxes were made.
    pub fn opened(&self) -> usize {
        self.lock().opened
    }
}

impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn most(&self) -> BoxFuture<'_, Limits> {
        Box::pin(async { FAKE_MACHINE })
    }

    /// What is below `/allowed` may be.
    fn check_root<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<(), Error>> {
        let may = match root {
            Root::Host | Root::Image { .. } => true,
            Root::Directory { path } | Root::Archive { path } => path.starts_with("/allowed"),
        };
        let refused = || Error::Invalid("only what is below /allowed may be".to_owned());
        Box::pin(async move { may.then_some(()).ok_or_else(refused) })
    }

    /// All are there but `absent`.
    fn check_packages<'a>(&'a self, packages: &'a Packages) -> BoxFuture<'a, Result<(), Error>> {
        let is_absent = |manager| packages.of(manager).iter().any(|package| package == "absent");
        let absent = Manager::ALL.into_iter().find(|manager| is_absent(*manager));
        let checked = absent.map_or(Ok(()), |manager| Err(Error::Invalid(format!("{manager}: no archive of absent"))));
        Box::pin(async move { checked })
    }

    fn open(&self, spec: Spec) -> BoxFuture<'_, Result<Opened, Error>> {
        Box::pin(async move {
            if self.lock().held_opening {
                spec.progress.say("a test holds it up");
                self.until(|inner| (!inner.held_opening).then_some(())).await;
            }
            let (fresh, gone) = self.change(|inner| {
                if let Some(reason) = &inner.refuse {
                    return Err(Error::Refused { cause: reason.clone(), fix: "let the test allow it".to_owned() });
                }
                let fresh = !inner.alive.contains_key(&spec.session);
                inner.opened += usize::from(fresh);
                inner.files.insert(spec.session);
                let gone = inner.alive.entry(spec.session).or_insert_with(|| watch::Sender::new(false)).subscribe();
                Ok((fresh, gone))
            })?;
            let sandbox = Arc::new(FakeSandbox { session: spec.session, backend: self.clone(), gone });
            Ok(Opened { sandbox, fresh, limits: Applied::default() })
        })
    }

    fn change_limits(&self, session: SessionId, limits: Limits) -> BoxFuture<'_, Result<Option<Applied>, Error>> {
        Box::pin(async move {
            let inner = self.lock();
            if !inner.alive.contains_key(&session) {
                return Ok(None);
            }
            match limits.memory_bytes {
                Some(memory) if memory < FAKE_MEMORY => {
                    Err(Error::Invalid(format!("memory_bytes: the sandbox uses {FAKE_MEMORY} bytes now")))
                }
                memory_bytes => Ok(Some(Applied { memory_bytes, ..Applied::default() })),
            }
        })
    }

    fn usage(&self, session: SessionId) -> BoxFuture<'_, Result<Usage, Error>> {
        Box::pin(async move {
            let alive = self.lock().alive.contains_key(&session);
            let memory_bytes = alive.then_some(FAKE_MEMORY);
            let (disk_bytes, inodes) = self.lock().on_disk.unwrap_or((4096, 1));
            Ok(Usage { memory_bytes, disk_bytes: Some(disk_bytes), inodes: Some(inodes), ..Usage::default() })
        })
    }

    fn alive(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(async move { Ok(self.lock().alive.keys().copied().collect()) })
    }

    fn destroy(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.kill(session);
            self.change(|inner| {
                inner.snapshots.remove(&session);
                inner.workspaces.remove(&session);
                inner.files.remove(&session)
            });
            Ok(())
        })
    }

    fn snapshot(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
        _most_copied: Option<u64>,
    ) -> BoxFuture<'_, Result<Taken, Error>> {
        Box::pin(async move {
            self.until_let_go().await;
            Ok(self.change(|inner| {
                let taken = inner.next.take().unwrap_or(Taken::Sealed);
                let kept = inner.snapshots.entry(session).or_default();
                if !kept.contains(&snapshot) && !matches!(taken, Taken::Skipped { .. }) {
                    kept.push(snapshot);
                    inner.files.insert(session);
                    if let Some(workspace) = inner.workspaces.get(&session) {
                        inner.kept.insert(snapshot, copied(workspace));
                    }
                }
                taken
            }))
        })
    }

    fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: &[SnapshotId],
        to: SessionId,
    ) -> BoxFuture<'_, Result<(), Error>> {
        let shared: Vec<SnapshotId> = earlier.iter().copied().chain([snapshot]).collect();
        Box::pin(async move {
            let kept = self.snapshots(from);
            if shared.iter().any(|snapshot| !kept.contains(snapshot)) {
                return Err(no_snapshot());
            }
            self.change(|inner| {
                inner.files.insert(to);
                inner.origins.insert(to, snapshot);
                inner.snapshots.insert(to, shared);
                if let Some(kept) = inner.kept.get(&snapshot) {
                    inner.workspaces.insert(to, copied(kept));
                }
            });
            Ok(())
        })
    }

    fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if snapshot.is_some_and(|snapshot| !self.snapshots(session).contains(&snapshot)) {
                return Err(no_snapshot());
            }
            self.until_let_go().await;
            self.kill(session);
            self.change(|inner| match snapshot {
                Some(snapshot) => inner.origins.insert(session, snapshot),
                None => inner.origins.remove(&session),
            });
            Ok(())
        })
    }

    fn keep_snapshots(&self, session: SessionId, keep: &[SnapshotId]) -> BoxFuture<'_, Result<(), Error>> {
        let keep = keep.to_vec();
        Box::pin(async move {
            self.change(|inner| {
                inner.snapshots.entry(session).or_default().retain(|snapshot| keep.contains(snapshot));
            });
            Ok(())
        })
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(async move { Ok(self.lock().files.iter().copied().collect()) })
    }

    fn leftovers(&self, _known: &[SessionId]) -> BoxFuture<'_, Result<Vec<Leftover>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn probe(&self) -> BoxFuture<'_, Report> {
        Box::pin(async { Report::default() })
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let sessions: Vec<SessionId> = self.lock().alive.keys().copied().collect();
            sessions.into_iter().for_each(|session| self.kill(session));
            Ok(())
        })
    }
}

fn no_snapshot() -> Error {
    Error::Invalid("the session has no such snapshot".to_owned())
}

/// What the machine of fake sandboxes has: much, but not as much as can be written in a request.
const FAKE_MACHINE: Limits = Limits {
    memory_bytes: Some(64 << 30),
    cpu_millis: Some(8_000),
    pids: Some(32_768),
    disk_bytes: Some(1 << 40),
    inodes: Some(10_000_000),
    open_files: Some(100_000),
};

/// The memory that every fake sandbox uses.
const FAKE_MEMORY: u64 = 100 << 20;
