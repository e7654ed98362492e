//! How long sandboxes take, beside other programs that make them, as JSON lines.
//!
//! Each round does every case once, so that all meet the same noise. `cargo run --release --example sandbox_bench [rounds]`

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, CallEnd, Native, NativeConfig, Order, Spec, Work};

fn main() {
    tenure_sandbox::dispatch(&[]);
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(40);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for line in runtime.block_on(measure(rounds)) {
        print(&line);
    }
}

#[expect(clippy::print_stdout, reason = "the lines are this program's output")]
fn print(line: &serde_json::Value) {
    println!("{line}");
}

/// The times of one case.
struct Case {
    name: String,
    target_ms: Option<f64>,
    times: Vec<Duration>,
}

impl Case {
    fn new(name: impl Into<String>, target_ms: Option<f64>) -> Self {
        Self { name: name.into(), target_ms, times: Vec::new() }
    }

    fn line(mut self) -> serde_json::Value {
        self.times.sort_unstable();
        let at = |share: f64| {
            let index = ((self.times.len() - 1) as f64 * share).round() as usize;
            (self.times[index].as_secs_f64() * 1e6).round() / 1e3
        };
        json!({"bench": self.name, "n": self.times.len(), "p50_ms": at(0.5), "p95_ms": at(0.95), "target_p50_ms": self.target_ms})
    }
}

async fn measure(rounds: u32) -> Vec<serde_json::Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut ours = Vec::new();
    for (label, cgroups) in [("with cgroups", true), ("without cgroups", false)] {
        let mut config = NativeConfig::new(dir.path().join(if cgroups { "with" } else { "without" }));
        config.cgroups = cgroups;
        let cases =
            [("cold create", 5.0), ("exec /bin/true", 1.0), ("shell `true`", 1.0), ("destroy, files included", 2.0)];
        let cases = cases.map(|(name, target)| Case::new(format!("sandbox: {name}, {label}"), Some(target)));
        ours.push((Native::new(config), cases));
    }
    let mut others: Vec<(Case, Vec<String>)> = others(dir.path());
    let mut plain = Case::new("sandbox: /bin/true without a sandbox", None);
    for round in 0..rounds {
        for (backend, cases) in &mut ours {
            one_life(backend, cases, round).await;
        }
        plain.times.push(spawn(&["/bin/true".to_owned()]));
        for (case, command) in &mut others {
            case.times.push(spawn(command));
        }
    }
    let mut lines = Vec::new();
    for (backend, cases) in ours {
        backend.shutdown().await.expect("shut down");
        lines.extend(cases.map(Case::line));
    }
    lines.push(plain.line());
    lines.extend(others.into_iter().map(|(case, _)| case.line()));
    lines
}

async fn one_life(backend: &Native, [create, exec, shell, destroy]: &mut [Case; 4], round: u32) {
    let session = SessionId::from_bits(u128::from(round) + 1);
    let began = Instant::now();
    let sandbox = Backend::open(backend, Spec::new(session)).await.expect("a sandbox").sandbox;
    create.times.push(began.elapsed());
    let program =
        Work::Exec { argv: vec!["/bin/true".to_owned()], env: Vec::new(), cwd: "/".to_owned(), stdin: Vec::new() };
    let line = Work::Shell { command: "true".to_owned(), restart: false };
    // The first of each waits for the limits to be entered, and for bash to start.
    for (turn, (case, work)) in [(&mut *exec, &program), (shell, &line)].into_iter().enumerate() {
        for again in 0..4 {
            let order = Order::new(ItemId::from_bits((turn * 4 + again + 1) as u128), work.clone());
            let began = Instant::now();
            let end = sandbox.run(order, None).await.expect("a result");
            if again > 0 {
                case.times.push(began.elapsed());
            }
            assert!(matches!(end, CallEnd::Exited(exit) if exit.code == Some(0)));
        }
    }
    drop(sandbox);
    let began = Instant::now();
    Backend::destroy(backend, session).await.expect("destroyed");
    destroy.times.push(began.elapsed());
}

/// Other programs that make a sandbox, run `true` in it and remove it, as far as they are installed. To be compared with
/// our create, exec and destroy together.
fn others(dir: &Path) -> Vec<(Case, Vec<String>)> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let bwrap = words(
        "bwrap --unshare-all --die-with-parent --cap-drop ALL --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
         --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp /bin/true",
    );
    let bundle = dir.join("bundle");
    let mut all = vec![("bwrap, create to gone".to_owned(), bwrap)];
    if write_bundle(&bundle).is_ok() {
        for runtime in ["crun", "runc"] {
            let state = dir.join(format!("{runtime}-state"));
            let command = format!(
                "{runtime} --root {} run --bundle {} tenure-bench-{runtime}",
                state.display(),
                bundle.display()
            );
            all.push((format!("{runtime}, create to gone"), words(&command)));
        }
    }
    all.into_iter()
        .filter(|(_, command)| works(command))
        .map(|(name, command)| (Case::new(name, None), command))
        .collect()
}

fn works(command: &[String]) -> bool {
    Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn spawn(command: &[String]) -> Duration {
    let began = Instant::now();
    works(command);
    began.elapsed()
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
