//! How long sandboxes take and what they weigh, beside other programs that make them: one JSON line for each row.
//!
//! Each round does every case once, so that all meet the same noise. `cargo run --release --example sandbox_bench [rounds
//! [alive]]`

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_sandbox::{Backend, CallEnd, Native, NativeConfig, Order, Sandbox, Spec, Taken, Work};

/// Sandboxes whose memory is measured.
const WEIGHED: u128 = 200;
/// How long the supervisor gets to make sandboxes ahead.
const FILLING: Duration = Duration::from_millis(200);
/// How long the kernel gets to settle before memory is read.
const SETTLING: Duration = Duration::from_secs(2);

fn main() {
    tenure_sandbox::dispatch(&[]);
    let number =
        |at: usize, default: u32| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, alive) = (number(1, 40).max(1), number(2, 1_000).max(1));
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).expect("it may be raised this far");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        lives(rounds).await;
        snapshots(rounds.min(5)).await;
        many(u128::from(alive)).await;
    });
}

#[expect(clippy::print_stdout, reason = "the lines are this program's output")]
fn row(row: &str, measured: &str, unit: &str, target: &str, beside: &str) {
    let line = json!({"row": row, "measured": measured, "unit": unit, "target": target, "beside": beside});
    println!("{line}");
}

/// The times of one case.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, began: Instant) {
        self.0.push(began.elapsed());
    }

    /// The median, and the time that 19 of 20 don't reach.
    fn shown(&mut self) -> String {
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        format!("{:.2} / {:.2}", at(0.5), at(0.95))
    }
}

const UNIT: &str = "ms p50 / p95";

/// What is timed of a life of ours.
#[derive(Default)]
struct Ours {
    create: Times,
    exec: Times,
    shell: Times,
    destroy: Times,
    whole: Times,
}

/// Another program that makes a sandbox, runs `true` in it and removes it.
struct Other {
    name: &'static str,
    command: Vec<String>,
    /// The mounts it is to see, if not ours.
    place: Option<Place>,
    times: Times,
}

async fn lives(rounds: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = |name: &str, cgroups: bool, pool: usize| {
        let mut config = NativeConfig::new(dir.path().join(name));
        (config.cgroups, config.pool) = (cgroups, pool);
        Native::new(config)
    };
    let (with, without, pooled) = (backend("with", true, 0), backend("without", false, 0), backend("pooled", true, 2));
    let (mut claims, mut first_calls) = (Times::default(), Times::default());
    let (mut limited, mut unlimited) = (Ours::default(), Ours::default());
    let mut others = others(dir.path());
    for round in 0..=rounds {
        if round == 1 {
            // The first round warms up.
            (limited, unlimited) = (Ours::default(), Ours::default());
            (claims, first_calls) = (Times::default(), Times::default());
            others.iter_mut().for_each(|other| other.times = Times::default());
        }
        one_life(&with, &mut limited, round).await;
        one_life(&without, &mut unlimited, round).await;
        // What is made ahead is made when nothing else happens.
        tokio::time::sleep(FILLING).await;
        let began = Instant::now();
        let sandbox = open(&pooled, SessionId::from_bits(u128::from(round) + 1)).await;
        claims.add(began);
        run(&sandbox, 1, program()).await;
        first_calls.add(began);
        drop(sandbox);
        Backend::destroy(&pooled, SessionId::from_bits(u128::from(round) + 1)).await.expect("destroyed");
        for other in &mut others {
            let began = Instant::now();
            other.runs();
            other.times.add(began);
        }
    }
    for backend in [with, without, pooled] {
        backend.shutdown().await.expect("shut down");
    }
    let n = format!("{rounds} lives, interleaved with those of the others");
    let beside = format!("until the first /bin/true in it has ended: {}", first_calls.shown());
    row("sandbox: claim from the pool, with limits by cgroups", &claims.shown(), UNIT, "≤ 2", &beside);
    row("sandbox: cold create, with limits by cgroups", &limited.create.shown(), UNIT, "≤ 5", &n);
    row("sandbox: cold create, without cgroups", &unlimited.create.shown(), UNIT, "≤ 5", &n);
    let plain = others.iter_mut().find(|other| other.name == HOST).map(|other| other.times.shown()).unwrap_or_default();
    let beside = format!("without a sandbox: {plain}");
    row("sandbox: exec of /bin/true in a live one", &limited.exec.shown(), UNIT, "≤ 1", &beside);
    row("sandbox: `true` in the live shell", &limited.shell.shown(), UNIT, "≤ 1", "no process is started");
    row("sandbox: destroy to last process reaped", &limited.destroy.shown(), UNIT, "≤ 2", "files moved away");
    let beside: Vec<String> =
        others.iter_mut().map(|other| format!("{} {}", other.name, other.times.shown())).collect();
    let beside = beside.join(", ");
    for (name, ours) in [("with limits by cgroups", &mut limited), ("without cgroups", &mut unlimited)] {
        let name = format!("sandbox: create, run /bin/true, destroy; {name}");
        row(&name, &ours.whole.shown(), UNIT, "ahead of bwrap, crun and runc", &beside);
    }
}

async fn one_life(backend: &Native, times: &mut Ours, round: u32) {
    let session = SessionId::from_bits(u128::from(round) + 1);
    // First a life as the others have it, then one to be looked into.
    let began = Instant::now();
    let sandbox = open(backend, session).await;
    run(&sandbox, 1, program()).await;
    drop(sandbox);
    Backend::destroy(backend, session).await.expect("destroyed");
    times.whole.add(began);
    let began = Instant::now();
    let sandbox = open(backend, session).await;
    times.create.add(began);
    let line = Work::Shell { command: "true".to_owned(), restart: false };
    for (turn, (case, work)) in [(&mut times.exec, program()), (&mut times.shell, line)].into_iter().enumerate() {
        // The first of each waits for the limits to be entered, or for bash to start.
        for again in 0..6 {
            let began = Instant::now();
            run(&sandbox, (turn * 6 + again + 1) as u128, work.clone()).await;
            if again > 0 {
                case.add(began);
            }
        }
    }
    drop(sandbox);
    let began = Instant::now();
    Backend::destroy(backend, session).await.expect("destroyed");
    times.destroy.add(began);
}

async fn open(backend: &Native, session: SessionId) -> Arc<dyn Sandbox> {
    Backend::open(backend, Spec::new(session)).await.expect("a sandbox").sandbox
}

fn program() -> Work {
    Work::Exec { argv: vec!["/bin/true".to_owned()], env: Vec::new(), cwd: "/".to_owned(), stdin: Vec::new() }
}

async fn run(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) {
    let end = sandbox.run(Order::new(ItemId::from_bits(n), work), None).await.expect("a result");
    assert!(matches!(end, CallEnd::Exited(exit) if exit.code == Some(0)));
}

/// Snapshots and forks of a workspace of 1 GB in 1,001 files.
async fn snapshots(rounds: u32) {
    const MAKE: &str = "head -c 1000000000 /dev/zero > big; mkdir d; for n in {1..1000}; do echo $n > d/$n; done";
    let dir = tempfile::tempdir().expect("a directory");
    let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(dir.path().join("files")) });
    let (mut sealed, mut forked, mut opened, mut copied) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    let line = |command: &str| Work::Shell { command: command.to_owned(), restart: false };
    for round in 0..u128::from(rounds) {
        let (parent, child) = (SessionId::from_bits(2 * round + 1), SessionId::from_bits(2 * round + 2));
        let kept = |n: u128| SnapshotId::from_bits(10 * round + n);
        let sandbox = open(&backend, parent).await;
        run(&sandbox, 1, line(MAKE)).await;
        let began = Instant::now();
        let taken = Backend::snapshot(&backend, parent, kept(1), None).await.expect("taken");
        sealed.add(began);
        assert_eq!(taken, Taken::Sealed);
        let began = Instant::now();
        Backend::fork(&backend, parent, kept(1), &[], child).await.expect("forked");
        forked.add(began);
        let fork = open(&backend, child).await;
        opened.add(began);
        run(&fork, 1, line("[ $(stat -c %s big) = 1000000000 ]")).await;
        run(&sandbox, 2, line("sleep 1000 & head -c 1000000 /dev/zero > small")).await;
        let began = Instant::now();
        let taken = Backend::snapshot(&backend, parent, kept(2), None).await.expect("taken");
        copied.add(began);
        assert!(matches!(taken, Taken::Copied { .. }));
        drop((sandbox, fork));
        for session in [parent, child] {
            Backend::destroy(&backend, session).await.expect("destroyed");
        }
    }
    backend.shutdown().await.expect("shut down");
    let n = format!("{rounds} times; the sandbox lives, and its shell is saved and ended");
    row("sandbox: snapshot of a 1 GB workspace, sealed", &sealed.shown(), UNIT, "≤ 50", &n);
    let beside = format!("and until the child's sandbox is there: {}", opened.shown());
    row("sandbox: fork of a 1 GB workspace", &forked.shown(), UNIT, "≤ 50", &beside);
    let n = format!("{rounds} times; 1 MB written since the last snapshot, copied while all stands still");
    row("sandbox: snapshot with a process alive", &copied.shown(), UNIT, "", &n);
}

/// What idle ones weigh, and as many as are wanted at once.
async fn many(wanted: u128) {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("many");
    let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(&place) });
    let mut weights = Vec::new();
    let mut pss_kib = 0;
    for _ in 0..2 {
        let sandbox = open(&backend, SessionId::from_bits(WEIGHED + 1)).await;
        tokio::time::sleep(SETTLING).await;
        let before = available_kib();
        let mut sandboxes = Vec::new();
        for n in 1..=WEIGHED {
            sandboxes.push(open(&backend, SessionId::from_bits(n)).await);
        }
        tokio::time::sleep(SETTLING).await;
        weights.push(format!("{:.0}", (before - available_kib()) / WEIGHED as f64));
        pss_kib = family_pss_kib(&tenure_sandbox::native::cgroup_name(&place)) / (WEIGHED as u64 + 1);
        drop((sandbox, sandboxes));
        for n in 1..=WEIGHED + 1 {
            Backend::destroy(&backend, SessionId::from_bits(n)).await.expect("destroyed");
        }
    }
    let beside =
        format!("{WEIGHED} of them, twice; keeper and executor together {pss_kib} KiB PSS, the rest is the kernel's");
    row("sandbox: memory each when idle", &weights.join(", "), "KiB of MemAvailable", "≤ 1,024", &beside);

    let mut alive = Vec::new();
    let (began, mut creates, mut stopped_by) = (Instant::now(), Times::default(), String::new());
    for n in 1..=wanted {
        let one = Instant::now();
        match Backend::open(&backend, Spec::new(SessionId::from_bits(n))).await {
            Ok(opened) => alive.push(opened.sandbox),
            Err(error) => {
                stopped_by = format!("; then: {error}");
                break;
            }
        }
        creates.add(one);
    }
    let opened = began.elapsed().as_secs_f64();
    let mut execs = Times::default();
    for sandbox in &alive {
        let one = Instant::now();
        run(sandbox, 1, program()).await;
        execs.add(one);
    }
    let count = alive.len();
    drop(alive);
    let began = Instant::now();
    backend.shutdown().await.expect("shut down");
    let ended = began.elapsed().as_secs_f64();
    let beside = format!(
        "made in {opened:.1} s ({} ms each, p50 / p95), first exec in each {} ms, all ended in {ended:.1} s{stopped_by}",
        creates.shown(),
        execs.shown()
    );
    row("sandbox: alive at once", &count.to_string(), "sandboxes", "≥ 1,000", &beside);
}

fn available_kib() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc");
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The memory of all keepers and executors whose command line has this name, shared pages counted by their share. The
/// supervisor's own is among it, and is as good as nothing beside hundreds.
fn family_pss_kib(name: &str) -> u64 {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ours = entries.filter(|entry| {
        std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|command| command.contains(name))
    });
    ours.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.path().join("smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    })
    .sum()
}

/// The name of the case without any sandbox.
const HOST: &str = "no sandbox";

/// Those that are installed and work here.
fn others(dir: &Path) -> Vec<Other> {
    let other = |name: &'static str, command: &str| {
        let command = command.split_whitespace().map(str::to_owned).collect();
        Other { name, command, place: None, times: Times::default() }
    };
    let bwrap = "bwrap --unshare-all --die-with-parent --cap-drop ALL --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
         --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp /bin/true";
    let mut all = vec![other(HOST, "/bin/true"), other("bwrap", bwrap)];
    let bundle = dir.join("bundle");
    write_bundle(&bundle).expect("a bundle can be written");
    for name in ["crun", "runc"] {
        let (state, bundle) = (dir.join(format!("{name}-state")), bundle.display());
        all.push(other(name, &format!("{name} --root {} run --bundle {bundle} tenure-bench-{name}", state.display())));
    }
    for other in &mut all {
        // crun refuses a host that has both versions of cgroups, unless it doesn't see the second.
        if !other.runs() {
            other.place = Place::without("/sys/fs/cgroup/unified");
        }
    }
    all.retain(|other| other.runs());
    all
}

impl Other {
    fn runs(&self) -> bool {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(namespace) = self.place.as_ref().map(|place| place.namespace.as_raw_fd()) {
            // SAFETY: between fork and exec, only makes a system call on a descriptor that stays open meanwhile.
            unsafe {
                command.pre_exec(move || match libc::setns(namespace, libc::CLONE_NEWNS) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        command.status().is_ok_and(|status| status.success())
    }
}

/// A mount namespace in which something is missing; a process of its own keeps it.
struct Place {
    namespace: OwnedFd,
    keeper: Child,
}

impl Place {
    fn without(mount: &str) -> Option<Self> {
        use std::io::BufRead;
        let script = format!("umount {mount} && echo ready && exec cat");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut keeper = command.spawn().ok()?;
        let mut line = String::new();
        let read = std::io::BufReader::new(keeper.stdout.take()?).read_line(&mut line);
        let namespace = std::fs::File::open(format!("/proc/{}/ns/mnt", keeper.id()));
        match (read.is_ok() && line == "ready\n", namespace) {
            (true, Ok(namespace)) => Some(Self { namespace: namespace.into(), keeper }),
            (_, _) => {
                let _ = keeper.kill();
                let _ = keeper.wait();
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A bundle whose root has the host's `/usr`, read-only, with the namespaces that ours have.
fn write_bundle(bundle: &Path) -> std::io::Result<()> {
    let root = bundle.join("rootfs");
    for name in ["usr", "proc", "dev", "tmp"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
    }
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind})).to_vec();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/usr/bin"], "cwd": "/", "noNewPrivileges": true},
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "sandbox",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        ],
        "linux": {"namespaces": namespaces, "uidMappings": map.clone(), "gidMappings": map},
    });
    std::fs::write(bundle.join("config.json"), config.to_string())
}
