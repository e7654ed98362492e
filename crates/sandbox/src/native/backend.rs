use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tenure_core::id::{SessionId, SnapshotId};
use tenure_core::packages::Packages;
use tenure_core::root::Root;

use super::channel::{Channel, nobody_listens};
use super::roots::Roots;
use super::sandbox::NativeSandbox;
use super::supervisor_link::{ForTests, SupervisorLink};
use super::trash::Trash;
use super::{leftovers, probe};
use crate::supervisor::{Config, KEEPER_SOCKET, MOST_LAYERS};
use crate::wire::{Start, SupervisorAsk, SupervisorTell};
use crate::{Applied, Backend, BoxFuture, Error, Images, Leftover, Limits, Opened, Report, Spec, Taken, Usage};

/// How a [`Native`] backend is set up.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// Where sandboxes keep their files; nobody else's. Its file system must be able to carry an overlay's upper layer
    /// (ext4, xfs, btrfs).
    pub dir: PathBuf,
    /// The executable that plays the sandbox roles; its `main` must begin with [`dispatch`](crate::dispatch()). Default:
    /// this one.
    pub executable: Option<PathBuf>,
    /// How long the supervisor keeps sandboxes when no server is connected and no call runs. Default: 5 minutes.
    pub linger: Duration,
    /// Whether to use cgroups. Without, no limit is enforced, and setting one is an error. Default: yes.
    pub cgroups: bool,
    /// How many bytes of the disk sandboxes leave to the host. Default: a gibibyte, or a twentieth of the disk if that is less.
    pub disk_floor_bytes: Option<u64>,
    /// Above how many layers that sessions made a stack is made flatter. Default: 20.
    pub most_layers: usize,
    /// Whether an archive of each sealed layer is kept, so that backups need not read it. Default: no.
    pub archive_layers: bool,
    /// How many sandboxes are made ahead, in idle moments once one has been opened, so that the next are there sooner. They serve
    /// sessions that set no limit of memory. Default: 2; none where a failpoint is set, since they
    /// would reach it.
    pub pool: usize,
    /// Where images of roots come from. Default: nowhere, so that a sandbox whose root is one isn't made.
    pub images: Option<Arc<dyn Images>>,
    /// The directories of the host below which roots may be. Default: none.
    pub root_dirs: Vec<PathBuf>,
    /// Where archives of packages are, in a directory for each manager: `apt`, `gem`, `npm`, `pip`. Default: `packages` beside the
    /// directory of the sandboxes.
    pub packages_dir: PathBuf,
    /// For tests: where a supervisor (`supervisor.grouped`, `.forked`, `.made`) or a keeper (`guest.ordered`, `.started`,
    /// `.forked`, `.exited`, `.told`) dies, as `name:n`, or stands still, as `name:n:pause`. Has an effect only in a build
    /// with the feature `failpoints`. Default: what `TENURE_FAILPOINT` says; that a server itself also stops at
    /// `order_written`, `order_sent` and `acknowledged`.
    pub failpoint: Option<String>,
    /// For tests: which versions of the protocol this server and a supervisor that it starts speak, as `min-max`, as a
    /// stand-in for an earlier or later program. Has an effect only in a build with the feature `failpoints`. Default: those of this program.
    pub versions: Option<String>,
    /// For tests: whether what overlays are made over is mounted somewhere first, as kernels before Linux 6.15 demand. Default: where
    /// the kernel does.
    pub attach_mounts: bool,
}

impl NativeConfig {
    /// The defaults, for files in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            packages_dir: dir.parent().unwrap_or(&dir).join("packages"),
            dir,
            executable: None,
            linger: Duration::from_secs(300),
            cgroups: true,
            disk_floor_bytes: None,
            most_layers: MOST_LAYERS,
            archive_layers: false,
            pool: if std::env::var_os("TENURE_FAILPOINT").is_some() { 0 } else { 2 },
            images: None,
            root_dirs: Vec::new(),
            failpoint: std::env::var("TENURE_FAILPOINT").ok(),
            versions: None,
            attach_mounts: false,
        }
    }
}

/// The backend built on the kernel alone.
#[derive(Debug)]
pub struct Native {
    dir: PathBuf,
    supervisor: Arc<SupervisorLink>,
    roots: Roots,
    open: Mutex<HashMap<SessionId, Weak<NativeSandbox>>>,
    trash: Trash,
}

/// How often opening is tried when the sandbox dies meanwhile.
const ATTEMPTS: u32 = 3;

impl Native {
    /// A backend; nothing is started until the first sandbox is opened.
    pub fn new(config: NativeConfig) -> Self {
        let NativeConfig {
            dir,
            executable,
            linger,
            cgroups,
            disk_floor_bytes,
            most_layers,
            archive_layers,
            pool,
            images,
            root_dirs,
            packages_dir,
            failpoint,
            versions,
            attach_mounts,
        } = config;
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        let packages_dir = std::path::absolute(&packages_dir).unwrap_or(packages_dir);
        let executable = executable.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let config = Config {
            dir: dir.clone(),
            linger,
            cgroups,
            disk_floor_bytes,
            most_layers,
            archive_layers,
            pool,
            attach_mounts,
            entered: false,
        };
        let trash = Trash::new(&dir, &executable);
        let supervisor = Arc::new(SupervisorLink::new(config, executable, ForTests { failpoint, versions }));
        let roots = Roots::new(&dir, images, root_dirs, packages_dir);
        Self { dir, supervisor, roots, open: Mutex::default(), trash }
    }

    fn session_dir(&self, session: SessionId) -> PathBuf {
        self.dir.join("sessions").join(session.to_string())
    }

    fn held(&self, session: SessionId) -> Option<Arc<NativeSandbox>> {
        let open = self.open.lock().expect("no holder panics");
        open.get(&session).and_then(Weak::upgrade).filter(|sandbox| sandbox.is_live())
    }

    async fn open(&self, spec: Spec) -> Result<Opened, Error> {
        let session = spec.session;
        let mut was_fresh = false;
        for _ in 0..ATTEMPTS {
            let start = self.roots.start(&spec, &self.session_dir(session), &self.supervisor, &self.trash).await?;
            let (fresh, limits) = self.make(&spec, start).await?;
            was_fresh |= fresh;
            // A second connection would replace the one that is held.
            if let Some(sandbox) = self.held(session).filter(|_| !fresh) {
                return Ok(Opened { sandbox, fresh: was_fresh, limits });
            }
            if let Some(sandbox) = self.attach(session).await? {
                let sandbox = Arc::new(sandbox);
                self.open.lock().expect("no holder panics").insert(session, Arc::downgrade(&sandbox));
                return Ok(Opened { sandbox, fresh: was_fresh, limits });
            }
            // It died just now; the supervisor may not have noticed.
            self.supervisor.ask_if_running(&SupervisorAsk::End { session }).await?;
        }
        Err(Error::Lost)
    }

    async fn make(&self, spec: &Spec, start: Option<Start>) -> Result<(bool, Applied), Error> {
        match self.supervisor.ask(&SupervisorAsk::Open { spec: spec.clone(), start }).await? {
            SupervisorTell::Opened { fresh, limits } => Ok((fresh, limits)),
            other => Err(refusal(other)),
        }
    }

    async fn attach(&self, session: SessionId) -> Result<Option<NativeSandbox>, Error> {
        let session_dir = self.session_dir(session);
        match Channel::connect(&session_dir, KEEPER_SOCKET).await {
            Ok(channel) => {
                let (root, supervisor) = (self.dir.clone(), Arc::clone(&self.supervisor));
                NativeSandbox::attach(session, root, session_dir, channel, supervisor).await
            }
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(error) => Err(Error::failed("connecting to a sandbox")(error)),
        }
    }

    async fn alive(&self) -> Result<Vec<SessionId>, Error> {
        match self.supervisor.ask_if_running(&SupervisorAsk::Alive).await? {
            Some(SupervisorTell::Alive { sessions }) => Ok(sessions),
            Some(other) => Err(refusal(other)),
            None => Ok(Vec::new()),
        }
    }

    async fn destroy(&self, session: SessionId) -> Result<(), Error> {
        self.end(session).await?;
        self.trash.take(&self.session_dir(session)).map_err(Error::failed("removing a sandbox's files"))
    }
}

/// How many snapshots are named in one packet.
const MOST_NAMED: usize = 1_000;

impl Native {
    async fn snapshot(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    ) -> Result<Taken, Error> {
        match self.supervisor.ask(&SupervisorAsk::Snapshot { session, snapshot, most_copied }).await? {
            SupervisorTell::Taken { taken } => Ok(taken),
            other => Err(refusal(other)),
        }
    }

    async fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: Vec<SnapshotId>,
        to: SessionId,
    ) -> Result<(), Error> {
        let mut parts = earlier.chunks(MOST_NAMED);
        let first = parts.next().unwrap_or_default();
        for earlier in std::iter::once(first).chain(parts) {
            self.order(SupervisorAsk::Fork { from, snapshot, earlier: earlier.to_vec(), to }).await?;
        }
        Ok(())
    }

    async fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> Result<(), Error> {
        self.end(session).await?;
        self.order(SupervisorAsk::Rewind { session, snapshot }).await?;
        self.trash.sweep();
        Ok(())
    }

    async fn keep_snapshots(&self, session: SessionId, keep: Vec<SnapshotId>) -> Result<(), Error> {
        let kept = ids_in(&self.session_dir(session).join("snapshots"));
        let gone: Vec<SnapshotId> = kept.into_iter().filter(|snapshot| !keep.contains(snapshot)).collect();
        for snapshots in gone.chunks(MOST_NAMED) {
            self.order(SupervisorAsk::Forget { session, snapshots: snapshots.to_vec() }).await?;
        }
        Ok(())
    }

    async fn change_limits(&self, session: SessionId, limits: Limits) -> Result<Option<Applied>, Error> {
        match self.supervisor.ask_if_running(&SupervisorAsk::Limit { session, limits }).await? {
            None => Ok(None),
            Some(SupervisorTell::Limited { limits }) => Ok(limits),
            Some(other) => Err(refusal(other)),
        }
    }

    async fn usage(&self, session: SessionId) -> Result<Usage, Error> {
        match self.supervisor.ask_if_running(&SupervisorAsk::Usage { session }).await? {
            None => Ok(Usage::default()),
            Some(SupervisorTell::Usage { usage }) => Ok(usage),
            Some(other) => Err(refusal(other)),
        }
    }

    async fn order(&self, ask: SupervisorAsk) -> Result<(), Error> {
        match self.supervisor.ask(&ask).await? {
            SupervisorTell::Done => Ok(()),
            other => Err(refusal(other)),
        }
    }

    /// Ends the sandbox of a session, if it is alive.
    async fn end(&self, session: SessionId) -> Result<(), Error> {
        let held = self.open.lock().expect("no holder panics").remove(&session).and_then(|held| held.upgrade());
        if let Some(sandbox) = held {
            sandbox.expect_end();
        }
        self.supervisor.ask_if_running(&SupervisorAsk::End { session }).await.map(drop)
    }
}

/// The ids that are names in a directory, which need not be there.
fn ids_in<T: std::str::FromStr>(dir: &Path) -> Vec<T> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The error that the supervisor tells of, or else an answer to another question.
pub(super) fn refusal(tell: SupervisorTell) -> Error {
    match tell {
        SupervisorTell::Refused { cause, fix } => Error::Refused { cause, fix },
        SupervisorTell::Unenforceable { what, cause } => Error::Unenforceable { what: what.name(), cause },
        SupervisorTell::Failed { doing, cause } => Error::Failed { doing, source: io::Error::other(cause) },
        SupervisorTell::Invalid { why } => Error::Invalid(why),
        SupervisorTell::Hello(_)
        | SupervisorTell::Opened { .. }
        | SupervisorTell::Ended
        | SupervisorTell::Alive { .. }
        | SupervisorTell::Superseded { .. }
        | SupervisorTell::Taken { .. }
        | SupervisorTell::Limited { .. }
        | SupervisorTell::Usage { .. }
        | SupervisorTell::Done => {
            Error::failed("asking the sandbox supervisor")(io::Error::other("it gave the answer to another question"))
        }
    }
}

impl Backend for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn open(&self, spec: Spec) -> BoxFuture<'_, Result<Opened, Error>> {
        Box::pin(self.open(spec))
    }

    fn check_root<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.roots.check(root) })
    }

    fn check_packages<'a>(&'a self, packages: &'a Packages) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.roots.check_packages(packages) })
    }

    fn alive(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.alive())
    }

    fn destroy(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.destroy(session))
    }

    fn snapshot(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    ) -> BoxFuture<'_, Result<Taken, Error>> {
        Box::pin(self.snapshot(session, snapshot, most_copied))
    }

    fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: &[SnapshotId],
        to: SessionId,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.fork(from, snapshot, earlier.to_vec(), to))
    }

    fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.rewind(session, snapshot))
    }

    fn keep_snapshots(&self, session: SessionId, keep: &[SnapshotId]) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.keep_snapshots(session, keep.to_vec()))
    }

    fn sessions(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(async { Ok(ids_in(&self.dir.join("sessions"))) })
    }

    fn change_limits(&self, session: SessionId, limits: Limits) -> BoxFuture<'_, Result<Option<Applied>, Error>> {
        Box::pin(self.change_limits(session, limits))
    }

    fn most(&self) -> BoxFuture<'_, Limits> {
        Box::pin(async { crate::machine::most(&self.dir) })
    }

    fn usage(&self, session: SessionId) -> BoxFuture<'_, Result<Usage, Error>> {
        Box::pin(self.usage(session))
    }

    fn leftovers(&self, known: &[SessionId]) -> BoxFuture<'_, Result<Vec<Leftover>, Error>> {
        let known = known.to_vec();
        Box::pin(async move {
            self.trash.wait_empty().await;
            // What nothing needs any more is still there for a moment; one that can't be asked has nothing to say of it.
            let _ = self.supervisor.ask_if_running(&SupervisorAsk::Tidy).await;
            leftovers::find(&self.dir, self.supervisor.pid().await?, &self.alive().await?, &known)
        })
    }

    fn probe(&self) -> BoxFuture<'_, Report> {
        Box::pin(probe::run(self, &self.dir))
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let held: Vec<_> =
                self.open.lock().expect("no holder panics").drain().filter_map(|(_, held)| held.upgrade()).collect();
            held.iter().for_each(|sandbox| sandbox.expect_end());
            self.supervisor.shut_down().await?;
            // Also what the supervisor has thrown away.
            self.trash.sweep();
            self.trash.wait_empty().await;
            Ok(())
        })
    }
}
