//! What a test runs on: a backend of its own, in a directory of its own, that must leave nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::native::cgroup_name;
use tenure_sandbox::{Backend, CallEnd, Exit, Native, NativeConfig, Order, Sandbox, Spec, Work};

/// A backend for one test.
pub(crate) struct Host {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) dir: tempfile::TempDir,
}

fn is_zygote(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "tenure-zygote\n")
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut NativeConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Arc::new(Native::new(config(dir.path(), change)));
        Self { backend, dir }
    }

    /// A backend on what lies in this directory.
    pub(crate) fn at(dir: tempfile::TempDir) -> Self {
        let backend = Arc::new(Native::new(config(dir.path(), |_| {})));
        Self { backend, dir }
    }

    /// Another backend on the same directory, as after a restart of the server.
    pub(crate) fn restarted(&mut self) {
        self.restarted_with(|_| {});
    }

    /// As above, with other settings.
    pub(crate) fn restarted_with(&mut self, change: impl FnOnce(&mut NativeConfig)) {
        self.backend = Arc::new(Native::new(config(self.dir.path(), change)));
    }

    pub(crate) async fn open(&self, session: SessionId) -> Arc<dyn Sandbox> {
        self.backend.open(Spec::new(session)).await.expect("a sandbox").sandbox
    }

    /// Ends everything and checks that nothing is left.
    pub(crate) async fn finish(self) {
        for session in self.backend.alive().await.expect("a list") {
            self.backend.destroy(session).await.expect("destroyed");
        }
        let sessions = std::fs::read_dir(self.dir.path().join("sessions")).into_iter().flatten().flatten();
        for stopped in sessions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            self.backend.destroy(stopped).await.expect("destroyed");
        }
        self.backend.shutdown().await.expect("shut down");
        assert_eq!(left_of(&self.backend, self.dir.path()).await, [] as [String; 0]);
    }
}

/// What is left of a directory's sandboxes: not the groups of others', which a failed test may have left.
pub(crate) async fn left_of(backend: &Arc<dyn Backend>, dir: &std::path::Path) -> Vec<String> {
    let left = backend.leftovers(&[]).await.expect("a list");
    let is_ours = |left: &String| !left.starts_with("cgroup") || left.contains(&cgroup_name(dir));
    left.iter().map(ToString::to_string).filter(is_ours).collect()
}

impl Host {
    /// How a further backend on the same directory is set up.
    pub(crate) fn config(&self) -> NativeConfig {
        config(self.dir.path(), |_| {})
    }

    /// Lets go of the backend: no server is there.
    pub(crate) fn alone(&mut self) {
        let nowhere = self.dir.path().join("nowhere");
        self.backend = Arc::new(Native::new(NativeConfig::new(nowhere)));
    }

    /// The executor of the first keeper.
    pub(crate) fn executor(&self) -> i32 {
        let keeper = self.keepers()[0];
        self.family().into_iter().find(|(_, parent)| *parent == keeper).expect("an executor").0
    }

    /// The supervisor of this host.
    pub(crate) fn supervisor(&self) -> i32 {
        let family = self.family();
        let is_inside = |pid: i32| family.iter().any(|(other, _)| *other == pid);
        family.iter().find(|(_, parent)| !is_inside(*parent)).expect("a supervisor").0
    }

    /// The supervisor of this host, if there is one just now.
    pub(crate) fn try_supervisor(&self) -> Option<i32> {
        let family = self.family();
        let is_inside = |pid: i32| family.iter().any(|(other, _)| *other == pid);
        family.iter().find(|(_, parent)| !is_inside(*parent)).map(|(pid, _)| *pid)
    }

    /// The keepers of this host, newest last.
    pub(crate) fn keepers(&self) -> Vec<i32> {
        let supervisor = self.supervisor();
        // For moments a supervisor has other children, which look like it until they become another program.
        let is_keeper = |pid: i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
        };
        let children = self.family().into_iter().filter(|(_, parent)| *parent == supervisor).map(|(pid, _)| pid);
        children.filter(|pid| is_keeper(*pid)).collect()
    }

    /// Copies of this host's supervisor that do something for it and are no keepers.
    pub(crate) fn helpers(&self) -> Vec<i32> {
        let (supervisor, keepers) = (self.supervisor(), self.keepers());
        let children = self.family().into_iter().filter(|(_, parent)| *parent == supervisor).map(|(pid, _)| pid);
        children.filter(|pid| !keepers.contains(pid) && !is_zygote(*pid)).collect()
    }

    /// What this host's keepers are forked from.
    pub(crate) fn zygote(&self) -> i32 {
        let supervisor = self.supervisor();
        let mut children = self.family().into_iter().filter(|(_, parent)| *parent == supervisor).map(|(pid, _)| pid);
        children.rfind(|pid| is_zygote(*pid)).expect("a zygote")
    }

    /// How many lines a file of a session's workspace has; none if it isn't there.
    pub(crate) fn lines_of(&self, session: SessionId, name: &str) -> usize {
        let file = self.dir.path().join(format!("sessions/{session}/layer/root/workspace")).join(name);
        std::fs::read_to_string(file).unwrap_or_default().lines().count()
    }

    /// A number that no other host has.
    pub(crate) fn number(&self) -> u64 {
        let digits = self.group_name();
        u64::from_str_radix(&digits[digits.len() - 8..], 16).expect("its last digits") + 100_000
    }

    /// The name that this host's cgroups and processes have from its directory.
    pub(crate) fn group_name(&self) -> String {
        cgroup_name(self.dir.path())
    }

    /// Processes that are copies of this host's supervisor, with their parents.
    pub(crate) fn family(&self) -> Vec<(i32, i32)> {
        let pids = std::fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = pids.filter(|pid: &i32| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.starts_with("tenure-sandbox-supervisor") && command.contains(&self.group_name())
        });
        let mut family: Vec<(i32, i32)> = ours
            .filter_map(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
            })
            .collect();
        family.sort_unstable();
        family
    }
}

/// The executable that plays the sandbox roles. `scripts/rootless-tests` has a copy that an ordinary user may read.
pub(crate) fn guest() -> PathBuf {
    std::env::var_os("TENURE_TEST_GUEST")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tenure-sandbox-guest")), PathBuf::from)
}

/// Ends a test that an ordinary user can't make, for this reason. Under nextest, and in `scripts/rootless-tests`, each
/// test has a process of its own.
pub(crate) fn needs_root(reason: &str) {
    if is_root() {
        return;
    }
    assert!(std::env::var_os("NEXTEST").is_some(), "this test needs root: {reason}");
    #[expect(clippy::print_stdout, reason = "says why the test did nothing")]
    {
        println!("skipped, needs root: {reason}");
    }
    std::process::exit(0);
}

/// As above, where an ordinary user to whom control groups were handed over can make it too.
pub(crate) fn needs_cgroups(reason: &str) {
    if !std::env::var("TENURE_TEST_CGROUPS").is_ok_and(|cgroups| cgroups == "delegated") {
        needs_root(reason);
    }
}

/// Ends a test that reaches into files of sandboxes, where these are of ids that were given to this user besides its own; as
/// above.
pub(crate) fn needs_own_files(reason: &str) {
    if !has_given_ids() {
        return;
    }
    #[expect(clippy::print_stdout, reason = "says why the test did nothing")]
    {
        println!("skipped, needs files of its own: {reason}");
    }
    std::process::exit(0);
}

/// Says why a test that is of an ordinary user with ids besides its own did nothing.
pub(crate) fn needs_given_ids() {
    #[expect(clippy::print_stdout, reason = "says why the test did nothing")]
    {
        println!("skipped, needs subordinate ids: they are an ordinary user's, and `scripts/rootless-tests` has one");
    }
}

/// Says why a test that is of ordinary users did nothing.
pub(crate) fn needs_ordinary_user() {
    #[expect(clippy::print_stdout, reason = "says why the test did nothing")]
    {
        println!("skipped, needs an ordinary user: `scripts/rootless-tests` is one");
    }
}

/// Whether all files of sandboxes belong to the one user that makes them.
pub(crate) fn has_one_id() -> bool {
    !is_root() && !has_given_ids()
}

/// Whether `scripts/rootless-tests` has given this user ids besides its own.
pub(crate) fn has_given_ids() -> bool {
    std::env::var("TENURE_TEST_IDS").is_ok_and(|ids| ids == "subordinate")
}

/// Whether sandboxes are made by root, and not by an ordinary user in a namespace of its own.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first user of the host that a keeper's sandbox has.
pub(crate) fn first_user(keeper: i32) -> u32 {
    let map = std::fs::read_to_string(format!("/proc/{keeper}/uid_map")).expect("a map");
    map.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Ends a process that this test started, at once.
pub(crate) fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Signals a process that this test started.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, signal).expect("signalled");
}

/// Resolves when a process that is no child of this one has ended.
pub(crate) fn wait_for_end(pid: i32) -> tokio::task::JoinHandle<()> {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives");
    tokio::task::spawn_blocking(move || {
        let mut polled = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).expect("it ends");
    })
}

fn config(dir: &std::path::Path, change: impl FnOnce(&mut NativeConfig)) -> NativeConfig {
    let mut config = NativeConfig::new(dir);
    config.executable = Some(guest());
    config.linger = Duration::from_secs(60);
    config.pool = 0;
    change(&mut config);
    config
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_bits(n)
}

pub(crate) fn call(n: u128) -> ItemId {
    ItemId::from_bits(n)
}

pub(crate) fn shell(command: &str) -> Work {
    Work::Shell { command: command.to_owned(), restart: false }
}

pub(crate) fn exec(argv: &[&str]) -> Work {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    Work::Exec { argv, env: Vec::new(), cwd: "/workspace".to_owned(), stdin: Vec::new() }
}

/// Runs a call as a restarted server does: it may have been ordered before.
pub(crate) async fn judge(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) -> Result<CallEnd, tenure_sandbox::Error> {
    let mut order = Order::new(call(n), work);
    order.asked_at = Some(std::time::SystemTime::now());
    sandbox.run(order, None).await
}

/// Runs a new call to its end.
pub(crate) async fn run(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) -> Exit {
    match sandbox.run(Order::new(call(n), work), None).await.expect("a result") {
        CallEnd::Exited(exit) => exit,
        CallEnd::Interrupted { reason } => panic!("interrupted: {reason}"),
    }
}

/// What a call printed, as text.
pub(crate) fn text(exit: &Exit) -> String {
    format!("{}{}", String::from_utf8_lossy(&exit.stdout), String::from_utf8_lossy(&exit.stderr))
}
